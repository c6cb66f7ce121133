/* Runs the kernels of a library on a block of memory: driver LIBRARY FILE BASE JOB

   The file is what the block holds, which begins at the address BASE; JOB is an address in it. What the block holds
   afterwards goes into the file. On Windows the registers that a function must leave alone are looked at. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>

static int allocate(uintptr_t base, long size)
{
    return VirtualAlloc((void *)base, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) == (void *)base;
}

static void *load(const char *path)
{
    HMODULE library = LoadLibraryA(path);
    if (!library)
        fprintf(stderr, "not loaded: error %lu\n", GetLastError());
    return library ? (void *)GetProcAddress(library, "minibert_run") : NULL;
}

#define KEPT 10 /* xmm6 to xmm15 */

static int call(void *function, int64_t job)
{
    uint64_t before[2 * KEPT], after[2 * KEPT];
    for (int number = 0; number < 2 * KEPT; number++)
        before[number] = 0x0123456789abcdefull * (number + 1);
    __asm__ volatile(
        "movdqu 0(%[from]), %%xmm6\n movdqu 16(%[from]), %%xmm7\n movdqu 32(%[from]), %%xmm8\n"
        "movdqu 48(%[from]), %%xmm9\n movdqu 64(%[from]), %%xmm10\n movdqu 80(%[from]), %%xmm11\n"
        "movdqu 96(%[from]), %%xmm12\n movdqu 112(%[from]), %%xmm13\n movdqu 128(%[from]), %%xmm14\n"
        "movdqu 144(%[from]), %%xmm15\n"
        "movq %%rsp, %%rbx\n andq $-16, %%rsp\n subq $32, %%rsp\n"
        "call *%[function]\n"
        "movq %%rbx, %%rsp\n"
        "movdqu %%xmm6, 0(%[to])\n movdqu %%xmm7, 16(%[to])\n movdqu %%xmm8, 32(%[to])\n"
        "movdqu %%xmm9, 48(%[to])\n movdqu %%xmm10, 64(%[to])\n movdqu %%xmm11, 80(%[to])\n"
        "movdqu %%xmm12, 96(%[to])\n movdqu %%xmm13, 112(%[to])\n movdqu %%xmm14, 128(%[to])\n"
        "movdqu %%xmm15, 144(%[to])\n"
        : "+c"(job)
        : [from] "r"(before), [to] "D"(after), [function] "S"(function)
        : "rax", "rbx", "rdx", "r8", "r9", "r10", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
          "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    return memcmp(before, after, sizeof before) == 0;
}

#else
#include <dlfcn.h>
#include <sys/mman.h>

static int allocate(uintptr_t base, long size)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    return mmap((void *)base, size, PROT_READ | PROT_WRITE, flags, -1, 0) == (void *)base;
}

static void *load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW);
    if (!library)
        fprintf(stderr, "not loaded: %s\n", dlerror());
    return library ? dlsym(library, "minibert_run") : NULL;
}

static int call(void *function, int64_t job)
{
    ((void (*)(int64_t))function)(job);
    return 1;
}
#endif

int main(int count, char **words)
{
    if (count != 5)
        return 2;
    FILE *file = fopen(words[2], "rb+");
    uintptr_t base = strtoull(words[3], NULL, 16);
    if (!file || fseek(file, 0, SEEK_END))
        return 3;
    long size = ftell(file);
    if (!allocate(base, size))
        return 4;
    rewind(file);
    if (fread((void *)base, 1, size, file) != (size_t)size)
        return 5;
    void *function = load(words[1]);
    if (!function)
        return 6;
    if (!call(function, strtoull(words[4], NULL, 16))) {
        fprintf(stderr, "registers that belong to the caller were changed\n");
        return 7;
    }
    rewind(file);
    return fwrite((void *)base, 1, size, file) == (size_t)size && !fclose(file) ? 0 : 8;
}
