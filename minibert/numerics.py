"""Numbers that define the arithmetic: the kernels and their NumPy twins read them from here, and so agree to the bit.

All float arithmetic is float32 multiplication, addition, division and square root, each rounded on its own (no fused
multiply-add), in a fixed order: sums over a row run in 16 lanes that are folded in halves at the end. That order is the
same on every CPU, so a text's answer has the same bits everywhere.
"""

from __future__ import annotations

# Where a polynomial comes from: all were fitted for the least largest error in the weight that is stated (minimax), by
# weighted least squares. bench/quality/fit_polynomials.py fits them anew, and says how near to the best they are.

#: exp2(t) for |t| <= 1/2, lowest power first: minimax in relative error, 7.5e-8.
EXP2_POLYNOMIAL = (1.0000000717, 0.6931469671, 0.2402211972, 0.0555071328, 0.0096755415, 0.0013276472)
#: Below this exponent exp2 is flushed to 2**EXP2_LOWEST, which keeps the exponent arithmetic inside float32.
EXP2_LOWEST = -126.0

#: GELU is x * (1/2 + z * r(t)) with z = x clamped to +-GELU_BOUND and t = 2 (z / GELU_BOUND)**2 - 1. The polynomial r,
#: lowest power first, is (Phi(x) - 1/2) / x (arXiv 1606.08415), minimax with weight x**2: its error in GELU is 1.8e-7,
#: with all roundings of float32 1.1e-6.
GELU_BOUND = 5.2
GELU_POLYNOMIAL = (
    0.1359499841928482,
    -0.06774362176656723,
    0.050025615841150284,
    -0.03993198648095131,
    0.03197391703724861,
    -0.02469884231686592,
    0.01803877018392086,
    -0.012619650922715664,
    0.008365104906260967,
    -0.004542333539575338,
    0.0020051707979291677,
    -0.0014687528600916266,
    0.001188689493574202,
    -0.0003882429446093738,
)
#: The same r as a polynomial in z**2, with the same weight, for GELUs that become int8 codes at once: error 3.3e-4
#: within the bound, and beyond it a relative error of 2.5e-4. A code is a 1/252 of what the row spans: 1e-2 and more.
GELU_CODES_BOUND = 3.6
GELU_CODES_POLYNOMIAL = (
    0.3971638259817974,
    -0.06344862715523991,
    0.008188886094108833,
    -0.0006750258559525661,
    3.1238870180848664e-05,
    -6.109339499143222e-07,
)
#: sqrt(8 / pi) and sqrt(8 / pi) * 0.044715: gelu_tanh(x) = x / (1 + exp(-(GELU_TANH_LINEAR x + GELU_TANH_CUBIC x**3))).
GELU_TANH_LINEAR = 1.5957691216057308
GELU_TANH_CUBIC = 0.07135481282674363

LOG2_E = 1.4426950408889634

#: Adding this to a float32 of magnitude below 2**22 leaves the nearest integer (half to even) in the low mantissa bits.
ROUND_MAGIC = 12582912.0

#: Codes of activations are int8. A row that spans low..high, zero always among it, has CODE_STEPS steps between the two
#: and a zero point of its own, which puts its highest on HIGHEST_CODE; rounding may take an end one code further. (What
#: GELU returns would leave nearly half of symmetric codes unused.)
CODE_STEPS = 252
HIGHEST_CODE = 126
#: A row that spans less is all zeros: CODE_STEPS / span must stay finite.
SMALLEST_SPAN = 1e-30
#: Codes of queries and keys, which have no zero point, span -ATTENTION_LIMIT..ATTENTION_LIMIT.
ATTENTION_LIMIT = 127

#: Queries and keys are int8 codes. Softmax weights (0..WEIGHT_LIMIT) and values (-VALUE_LIMIT..VALUE_LIMIT) take 16
#: bits: with 8, the many small weights of a long text are lost (cosine 0.9988 at 512 tokens, instead of 0.999998).
WEIGHT_BITS = 12
WEIGHT_LIMIT = 2**WEIGHT_BITS
VALUE_LIMIT = 4095
#: A softmax weight is made of the distance of its score to the largest, in integers: 16 bits hold all that 12 can show.
#: Distances count 2**DISTANCE_BITS to each halving of the weight, and end where nothing of it is left.
DISTANCE_BITS = 11
DISTANCE_STEPS = 2**DISTANCE_BITS
DISTANCE_LIMIT = (WEIGHT_BITS + 2) * DISTANCE_STEPS
#: 2**-t in units of 2**-14 is c0 - t (c1 - t (c2 - t c3)) for 0 <= t < 1, in int16: t counts 2**15, each product is
#: rounded. Found by search among integers for the least relative error: 2.0e-4 with all roundings.
WEIGHT_POLYNOMIAL = (16384, 11319, 3751, 624)
#: Keys go through the online softmax in blocks of this many: KEY_BLOCK * WEIGHT_LIMIT * VALUE_LIMIT < 2**31.
KEY_BLOCK = 128
#: Where the running maximum of the online softmax starts: below every finite score, and finite itself.
LOWEST_SCORE = -1e30
#: Token pruning keeps a whole number of 2**KEPT_UNIT_BITS parts of a text, rounded up: integers, so that all agree.
KEPT_UNIT_BITS = 10
