/* Calls the host code of a CUDA file on made-up addresses, linked against a stand-in for the CUDA runtime (runtime.c). Runs in the sandbox.
 *
 * recorder REQUEST OUTPUT FILE, where REQUEST holds
 *   device CAPABILITY MULTIPROCESSORS WARPS BLOCKS SHARED ALL_SHARED STREAM
 *   kernels N, then N times NAME REGISTERS THREADS SHARED PARAMETERS bytes…
 *   cases N, then N times SIZES size… BUFFERS address… WORKSPACE (its address, hexadecimal like the others)
 * and OUTPUT gets, for every case and then for every case once more,
 *   case NUMBER / workspace BYTES / the lines of runtime.c / done
 * and at the very end a line `end`, without which the file's code ended the process.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <unistd.h>

#include "runtime.h"

enum { MOST = 48 };

typedef uint64_t word;
/* Integers and pointers are passed alike on all ABIs this is built for, and a callee does not mind more of them than it reads. */
typedef void (*kernel_function)(word, word, word, word, word, word, word, word, word, word, word, word, word, word, word, word, word, word,
                                word, word, word, word, word, word, word, word, word, word, word, word, word, word, word, word, word, word,
                                word, word, word, word, word, word, word, word, word, word, word, word);
typedef size_t (*workspace_function)(word, word, word, word, word, word, word, word, word, word, word, word);

struct call {
    size_t sizes, buffers;
    word size[MOST], address[MOST], workspace;
};

static void need(int good, const char* what) {
    if (good) return;
    fprintf(stderr, "recorder: %s\n", what);
    exit(2);
}

static size_t counted(FILE* in, const char* keyword) {
    char found[32];
    size_t n;
    need(fscanf(in, "%31s %zu", found, &n) == 2 && !strcmp(found, keyword), keyword);
    return n;
}

static struct call read_call(FILE* in) {
    struct call call = {0};
    need(fscanf(in, "%zu", &call.sizes) == 1 && call.sizes <= 12, "sizes");
    for (size_t i = 0; i < call.sizes; ++i) need(fscanf(in, "%lu", &call.size[i]) == 1, "size");
    need(fscanf(in, "%zu", &call.buffers) == 1 && call.buffers + call.sizes + 2 <= MOST, "buffers");
    for (size_t i = 0; i < call.buffers; ++i) need(fscanf(in, "%lx", &call.address[i]) == 1, "address");
    need(fscanf(in, "%lx", &call.workspace) == 1, "workspace");
    return call;
}

static void make(const struct call* call, kernel_function kernel, workspace_function workspace, word stream, FILE* out) {
    const word* s = call->size;
    size_t bytes = workspace ? workspace(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11]) : 0;
    fprintf(out, "workspace %zu\n", bytes);
    word a[MOST] = {0};
    size_t n = 0;
    for (size_t i = 0; i < call->buffers; ++i) a[n++] = call->address[i];
    a[n++] = bytes ? call->workspace : 0;
    for (size_t i = 0; i < call->sizes; ++i) a[n++] = s[i];
    a[n++] = stream;
    evo_scrub();
    kernel(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15], a[16], a[17], a[18], a[19],
           a[20], a[21], a[22], a[23], a[24], a[25], a[26], a[27], a[28], a[29], a[30], a[31], a[32], a[33], a[34], a[35], a[36], a[37], a[38],
           a[39], a[40], a[41], a[42], a[43], a[44], a[45], a[46], a[47]);
}

int main(int argc, char** argv) {
    need(argc == 4, "REQUEST OUTPUT FILE");
    /* fixed addresses, so that what lies between the fields of a parameter is the same every time */
    if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE) && personality(ADDR_NO_RANDOMIZE) != -1 && personality(0xffffffff) & ADDR_NO_RANDOMIZE)
        execv("/proc/self/exe", argv);
    FILE *in = fopen(argv[1], "r"), *out = fopen(argv[2], "w");
    need(in && out, "cannot open its files");
    struct evo_device device;
    word stream;
    need(fscanf(in, " device %d %d %d %d %zu %zu %lx", &device.capability, &device.multiprocessors, &device.warps, &device.blocks, &device.shared,
                &device.all_shared, &stream) == 7, "device");
    const size_t count = counted(in, "kernels");
    struct evo_kernel* kernels = calloc(count + 1, sizeof *kernels);
    need(kernels != NULL, "memory");
    for (size_t i = 0; i < count; ++i) {
        struct evo_kernel* k = &kernels[i];
        need(fscanf(in, "%4095s %u %u %zu %zu", k->name, &k->registers, &k->threads, &k->shared, &k->count) == 5, "kernel");
        k->sizes = calloc(k->count + 1, sizeof *k->sizes);
        for (size_t p = 0; p < k->count; ++p) need(fscanf(in, "%zu", &k->sizes[p]) == 1, "parameter");
    }
    const size_t cases = counted(in, "cases");
    struct call* calls = calloc(cases + 1, sizeof *calls);
    need(calls != NULL, "memory");
    for (size_t i = 0; i < cases; ++i) calls[i] = read_call(in);
    fclose(in);

    void* library = dlopen(argv[3], RTLD_NOW | RTLD_LOCAL);
    if (!library) fprintf(stderr, "recorder: %s\n", dlerror());
    need(library != NULL, "cannot load the file");
    kernel_function kernel = (kernel_function)(uintptr_t)dlsym(library, "kernel");
    workspace_function workspace = (workspace_function)(uintptr_t)dlsym(library, "workspace");
    if (!kernel) fputs("missing kernel\n", out);
    evo_begin(out, &device, kernels, count, (void*)stream);
    for (int round = 0; kernel && round < 2; ++round)
        for (size_t i = 0; i < cases; ++i) {
            fprintf(out, "case %zu\n", i);
            make(&calls[i], kernel, workspace, stream, out);
            fputs("done\n", out);
        }
    fputs("end\n", out);
    fclose(out);
    _exit(0);
}
