"""Text to token ids, compiled: passes over the characters of a text, then the model on each word.

Twin: minibert.reference.tokens, which says what is done; here it says how.
"""
