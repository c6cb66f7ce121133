/* How often each block of guest code ran: a plugin of QEMU's user mode (API version 1: QEMU 6 to 8).

   cc -O2 -shared -fPIC -o blocks.so blocks.c
   QEMU_PLUGIN=./blocks.so,out=blocks.txt qemu-aarch64 ...

   At the end the file has a line for each block that ran: how often in each thread, its address, and its bytes, in
   hexadecimal. Blocks of the same address are told apart by what they hold. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is used of qemu-plugin.h, which packages of QEMU leave out. */
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { NO_REGISTERS };
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, void (*)(uint64_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_atexit_cb(uint64_t, void (*)(uint64_t, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

#define INSTRUCTION 4
#define LISTS 65536
#define THREADS 8 /* further ones are counted with the last */

struct block {
    uint64_t counts[THREADS], address;
    size_t size;
    uint8_t *code;
    struct block *next;
};

static struct block *lists[LISTS];
static char target[4096] = "blocks.txt";

static struct block *known(uint64_t address, const uint8_t *code, size_t size)
{
    struct block **list = &lists[address / INSTRUCTION % LISTS];
    for (struct block *block = *list; block; block = block->next)
        if (block->address == address && block->size == size && !memcmp(block->code, code, size))
            return block;
    struct block *block = calloc(1, sizeof *block);
    block->code = malloc(size);
    memcpy(block->code, code, size);
    block->address = address;
    block->size = size;
    block->next = *list;
    return *list = block;
}

static void entered(unsigned thread, void *block)
{
    ((struct block *)block)->counts[thread < THREADS ? thread : THREADS - 1]++;
}

/* QEMU translates a block when it first meets it, and again when it has forgotten it. */
static void translated(uint64_t plugin, struct qemu_plugin_tb *tb)
{
    size_t count = qemu_plugin_tb_n_insns(tb);
    uint8_t *code = malloc(count * INSTRUCTION);
    for (size_t i = 0; i < count; i++)
        memcpy(code + i * INSTRUCTION, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), INSTRUCTION);
    struct block *block = known(qemu_plugin_tb_vaddr(tb), code, count * INSTRUCTION);
    free(code);
    qemu_plugin_register_vcpu_tb_exec_cb(tb, entered, NO_REGISTERS, block);
}

static void ended(uint64_t plugin, void *unused)
{
    FILE *file = fopen(target, "w");
    if (!file) {
        perror(target);
        return;
    }
    for (size_t i = 0; i < LISTS; i++)
        for (struct block *block = lists[i]; block; block = block->next) {
            for (size_t j = 0; j < THREADS; j++)
                fprintf(file, j ? ",%llu" : "%llu", (unsigned long long)block->counts[j]);
            fprintf(file, " %llx ", (unsigned long long)block->address);
            for (size_t j = 0; j < block->size; j++)
                fprintf(file, "%02x", block->code[j]);
            fputc('\n', file);
        }
    fclose(file);
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t plugin, const void *info, int count, char **words)
{
    for (int i = 0; i < count; i++)
        if (!strncmp(words[i], "out=", 4))
            snprintf(target, sizeof target, "%s", words[i] + 4);
    qemu_plugin_register_vcpu_tb_trans_cb(plugin, translated);
    qemu_plugin_register_atexit_cb(plugin, ended, NULL);
    return 0;
}
