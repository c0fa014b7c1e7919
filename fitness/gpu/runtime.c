/* Stands in for the CUDA runtime where no device is: host code of a CUDA file that calls it launches nothing, its launches are written down.
 *
 * Built as a shared library under the name of the runtime that nvcc linked the file against, and loaded before the file by recorder.c. What is
 * not defined here cannot be written down, and files that call it are found by their imports before they are run (fitness/gpu/recording.py).
 * Lines that it writes, fields apart by one blank, names as the machine code has them, the bytes of parameters in hexadecimal:
 *   launch NAME grid*3 block*3 SHARED attributes {id word*3} parameters {bytes}
 *   memset ADDRESS BYTE COUNT      copy TO FROM COUNT      attribute NAME ID VALUE
 *   unknown TEXT    why what follows cannot be believed: the file has to be run with a device
 *   invalid TEXT    a launch that a device would refuse
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

enum { SUCCESS = 0, INVALID_VALUE = 1, INVALID_CONFIGURATION = 9, INVALID_FUNCTION = 98 };
enum { MAX_DYNAMIC_SHARED = 8, CARVEOUT = 9, NON_PORTABLE_CLUSTER = 14 };
enum { COOPERATIVE = 2, CLUSTER = 4, CLUSTER_POLICY = 5, PROGRAMMATIC = 6 };
enum { WITHOUT_ASKING = 48 << 10, MOST_THREADS = 1024, MOST_LINES = 20000, DEVICE_TO_DEVICE = 3, BY_ADDRESS = 4 };

struct dim3 {
    unsigned x, y, z;
};

struct attribute {
    int id;
    char pad[4];
    unsigned words[16];
};

struct config {
    struct dim3 grid, block;
    size_t shared;
    void* stream;
    struct attribute* attributes;
    unsigned count;
};

struct registered {
    const void* host;
    struct evo_kernel* kernel;
    char name[1];
};

static FILE* out;
static struct evo_device device;
static struct evo_kernel* kernels;
static size_t kernel_count, lines;
static struct registered** table;
static size_t registered_count;
static int last_error;
static void* own_stream;

void evo_begin(FILE* to, const struct evo_device* of, struct evo_kernel* list, size_t count, void* stream) {
    out = to, device = *of, kernels = list, kernel_count = count, own_stream = stream;
}

/* Clears the stack below: what lies between the fields of a parameter, and in an empty one, is what others left there. */
__attribute__((noinline)) void evo_scrub(void) {
    char area[64 << 10];
    memset(area, 0, sizeof area);
    __asm__ volatile("" : : "r"(area) : "memory");
}

/* Whether one more line may be written; says once that there are too many. */
static int room(void) {
    if (!out) return 0;
    if (++lines == MOST_LINES) fprintf(out, "unknown it launches more than %d kernels\n", MOST_LINES);
    return lines < MOST_LINES;
}

static void line(const char* format, ...) {
    if (!room()) return;
    va_list list;
    va_start(list, format);
    vfprintf(out, format, list);
    va_end(list);
    evo_scrub();
}

static int failed(int code) {
    if (code) last_error = code;
    return code;
}

int cudaGetLastError(void) {
    const int found = last_error;
    last_error = SUCCESS;
    return found;
}

int cudaPeekAtLastError(void) { return last_error; }

/* -- what the code that nvcc puts beside a kernel calls --------------------------------------------------------------------------------- */

void** __cudaRegisterFatBinary(void* binary) {
    static void* handle[1];
    (void)binary;
    return handle;
}

void __cudaRegisterFatBinaryEnd(void** handle) { (void)handle; }
void __cudaUnregisterFatBinary(void** handle) { (void)handle; }
char __cudaInitModule(void** handle) { return (void)handle, 1; }

void __cudaRegisterVar(void** handle, char* host, char* address, const char* name, int external, size_t size, int constant, int global) {
    (void)handle, (void)host, (void)address, (void)name, (void)external, (void)size, (void)constant, (void)global;
}

void __cudaRegisterFunction(void** handle, const char* host, char* function, const char* name, int limit, void* tid, void* bid, void* block,
                            void* grid, int* warp) {
    (void)handle, (void)function, (void)limit, (void)tid, (void)bid, (void)block, (void)grid, (void)warp;
    struct registered* made = malloc(sizeof *made + strlen(name));
    struct registered** grown = realloc(table, (registered_count + 1) * sizeof *table);
    if (!made || !grown) abort();
    table = grown;
    made->host = host, made->kernel = NULL;
    strcpy(made->name, name);
    table[registered_count++] = made;
}

static struct evo_kernel* found(const void* function) {
    for (size_t i = 0; i < registered_count; ++i) {
        struct registered* each = table[i];
        if (each->host != function && (const void*)each != function) continue;
        for (size_t k = 0; !each->kernel && k < kernel_count; ++k)
            if (!strcmp(kernels[k].name, each->name)) each->kernel = &kernels[k];
        if (each->kernel) return each->kernel;
    }
    line("unknown a function is launched that is no kernel of the file's machine code\n");
    return NULL;
}

int __cudaGetKernel(void** handle, const void* function) {
    for (size_t i = 0; i < registered_count; ++i)
        if (table[i]->host == function) return *handle = table[i], SUCCESS;
    return failed(INVALID_FUNCTION);
}

static struct {
    struct dim3 grid, block;
    size_t shared;
    void* stream;
} pushed[8];
static unsigned depth;

unsigned __cudaPushCallConfiguration(struct dim3 grid, struct dim3 block, size_t shared, void* stream) {
    if (depth == 8) return 1;
    pushed[depth].grid = grid, pushed[depth].block = block, pushed[depth].shared = shared, pushed[depth].stream = stream;
    return ++depth, 0;
}

int __cudaPopCallConfiguration(struct dim3* grid, struct dim3* block, size_t* shared, void** stream) {
    if (!depth) return failed(INVALID_CONFIGURATION);
    --depth;
    *grid = pushed[depth].grid, *block = pushed[depth].block, *shared = pushed[depth].shared, *stream = pushed[depth].stream;
    return SUCCESS;
}

/* -- launches ----------------------------------------------------------------------------------------------------------------------------- */

/* The stream that `kernel` was given, or the default one, which the caller's is on a device too. */
static int ours(const void* stream) {
    if (stream == own_stream || !stream) return 1;
    line("unknown it launches on a stream that is not the given one\n");
    return 0;
}

static const char* refused(const struct evo_kernel* kernel, struct dim3 grid, struct dim3 block, size_t shared, char* text, size_t room) {
    const unsigned long long threads = (unsigned long long)block.x * block.y * block.z;
    const size_t fixed = kernel->shared, given = (size_t)kernel->allowed, plain = WITHOUT_ASKING - (fixed < WITHOUT_ASKING ? fixed : WITHOUT_ASKING);
    if (!threads || threads > MOST_THREADS || block.z > 64)
        snprintf(text, room, "a block of %u x %u x %u threads; at most %d (64 deep)", block.x, block.y, block.z, MOST_THREADS);
    else if (kernel->threads && threads > kernel->threads)
        snprintf(text, room, "a block of %llu threads; __launch_bounds__ allows %u", threads, kernel->threads);
    else if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
        snprintf(text, room, "a grid of %u x %u x %u blocks; at most 2147483647 x 65535 x 65535", grid.x, grid.y, grid.z);
    else if (fixed + shared > device.shared)
        snprintf(text, room, "%zu bytes of shared memory a block; the device has %zu", fixed + shared, device.shared);
    else if (shared > given && shared > plain)
        snprintf(text, room, "%zu bytes of dynamic shared memory; cudaFuncSetAttribute allowed %zu", shared, given > plain ? given : plain);
    else
        return NULL;
    return text;
}

static const char* misfit(const struct evo_kernel* kernel, struct dim3 grid, const unsigned* cluster, char* text, size_t room) {
    const unsigned x = cluster[0], y = cluster[1], z = cluster[2];
    const unsigned long long blocks = (unsigned long long)x * y * z;
    if (blocks && blocks <= (kernel->wide ? 16 : 8) && grid.x % x == 0 && grid.y % y == 0 && grid.z % z == 0) return NULL;
    snprintf(text, room, "clusters of %u x %u x %u blocks in a grid of %u x %u x %u; the grid is to be a multiple, and a cluster has 8 blocks at most",
             x, y, z, grid.x, grid.y, grid.z);
    return text;
}

static int launched(const void* function, struct dim3 grid, struct dim3 block, void** args, size_t shared, void* stream,
                    const struct attribute* attributes, unsigned count) {
    struct evo_kernel* kernel = found(function);
    char text[256];
    if (!kernel) return failed(INVALID_FUNCTION);
    if (!ours(stream)) return SUCCESS;
    if (!grid.x || !grid.y || !grid.z) return failed(INVALID_CONFIGURATION); /* as on a device: nothing is launched */
    const char* why = refused(kernel, grid, block, shared, text, sizeof text);
    for (unsigned i = 0; i < count && !why; ++i)
        if (attributes[i].id == CLUSTER) why = misfit(kernel, grid, attributes[i].words, text, sizeof text);
    if (why) {
        line("invalid %s is launched with %s\n", kernel->name, why);
        return failed(INVALID_CONFIGURATION);
    }
    for (unsigned i = 0; i < count; ++i)
        if (attributes[i].id != COOPERATIVE && attributes[i].id != CLUSTER && attributes[i].id != CLUSTER_POLICY && attributes[i].id != PROGRAMMATIC)
            line("unknown it launches with attribute %d\n", attributes[i].id);
    if (!room()) return SUCCESS;
    fprintf(out, "launch %s %u %u %u %u %u %u %zu %u", kernel->name, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared, count);
    for (unsigned i = 0; i < count; ++i) {
        const int extents = attributes[i].id == CLUSTER;
        const unsigned* words = attributes[i].words;
        fprintf(out, " %d %u %u %u", attributes[i].id, words[0], extents ? words[1] : 0, extents ? words[2] : 0);
    }
    fprintf(out, " %zu", kernel->count);
    for (size_t i = 0; i < kernel->count; ++i) {
        fputc(' ', out);
        for (size_t byte = 0; byte < kernel->sizes[i]; ++byte) fprintf(out, "%02x", ((const unsigned char*)args[i])[byte]);
    }
    fputc('\n', out);
    evo_scrub();
    return SUCCESS;
}

int __cudaLaunchKernel(void* kernel, struct dim3 grid, struct dim3 block, void** args, size_t shared, void* stream) {
    return launched(kernel, grid, block, args, shared, stream, NULL, 0);
}

int cudaLaunchKernel(const void* function, struct dim3 grid, struct dim3 block, void** args, size_t shared, void* stream) {
    return launched(function, grid, block, args, shared, stream, NULL, 0);
}

int cudaLaunchCooperativeKernel(const void* function, struct dim3 grid, struct dim3 block, void** args, size_t shared, void* stream) {
    const struct attribute cooperative = {COOPERATIVE, {0}, {1}};
    return launched(function, grid, block, args, shared, stream, &cooperative, 1);
}

int cudaLaunchKernelExC(const struct config* config, const void* function, void** args) {
    return launched(function, config->grid, config->block, args, config->shared, config->stream, config->attributes, config->count);
}

int cudaFuncSetAttribute(const void* function, int id, int value) {
    struct evo_kernel* kernel = found(function);
    if (!kernel) return failed(INVALID_FUNCTION);
    if (id != MAX_DYNAMIC_SHARED && id != CARVEOUT && id != NON_PORTABLE_CLUSTER) {
        line("unknown it sets attribute %d of a kernel\n", id);
        return SUCCESS;
    }
    if (id == MAX_DYNAMIC_SHARED) {
        if (value < 0 || kernel->shared + (size_t)value > device.shared) {
            line("invalid %s is to have %lld bytes of shared memory a block; the device has %zu\n", kernel->name,
                 (long long)kernel->shared + value, device.shared);
            return failed(INVALID_VALUE);
        }
        kernel->allowed = value;
    }
    if (id == CARVEOUT) kernel->carved = 1;
    if (id == NON_PORTABLE_CLUSTER) kernel->wide = value;
    line("attribute %s %d %d\n", kernel->name, id, value);
    return SUCCESS;
}

/* -- memory ------------------------------------------------------------------------------------------------------------------------------- */

int cudaMemsetAsync(void* to, int value, size_t count, void* stream) {
    if (ours(stream) && count) line("memset %llx %d %zu\n", (unsigned long long)(uintptr_t)to, value & 255, count);
    return SUCCESS;
}

int cudaMemcpyAsync(void* to, const void* from, size_t count, int kind, void* stream) {
    if (kind != DEVICE_TO_DEVICE && kind != BY_ADDRESS)
        line("unknown it copies between host and device\n");
    else if (ours(stream) && count)
        line("copy %llx %llx %zu\n", (unsigned long long)(uintptr_t)to, (unsigned long long)(uintptr_t)from, count);
    return SUCCESS;
}

/* -- questions ---------------------------------------------------------------------------------------------------------------------------- */

int cudaGetDevice(int* number) { return *number = 0, SUCCESS; }

int cudaDeviceGetAttribute(int* value, int which, int number) {
    (void)number;
    switch (which) {
        case 1: return *value = MOST_THREADS, SUCCESS;
        case 8: return *value = WITHOUT_ASKING, SUCCESS;
        case 10: return *value = 32, SUCCESS;
        case 16:
            if (!device.multiprocessors) line("unknown it asks for the number of multiprocessors, and that is not known here\n");
            return *value = device.multiprocessors, SUCCESS;
        case 39: return *value = device.warps * 32, SUCCESS;
        case 75: return *value = device.capability / 10, SUCCESS;
        case 76: return *value = device.capability % 10, SUCCESS;
        case 81: return *value = (int)device.all_shared, SUCCESS;
        case 95: return *value = 1, SUCCESS;
        case 97: return *value = (int)device.shared, SUCCESS;
        case 106: return *value = device.blocks, SUCCESS;
        default: line("unknown it asks for attribute %d of the device\n", which);
    }
    return *value = 0, SUCCESS;
}

/* The rules of NVIDIA's occupancy calculator for devices since compute capability 8.0: registers are given to warps by 256, out of four
 * files; shared memory by 128 bytes, 1024 more for every block. */
int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void* function, int threads, size_t dynamic, unsigned flags) {
    struct evo_kernel* kernel = found(function);
    *blocks = 0;
    if (!kernel) return failed(INVALID_FUNCTION);
    if (threads <= 0 || threads > MOST_THREADS) return failed(INVALID_VALUE);
    if (flags || kernel->carved) line("unknown it asks for the occupancy of a kernel with a shared memory carveout of its own\n");
    const int warps = (threads + 31) / 32, by_warps = device.warps / warps;
    const unsigned a_warp = (kernel->registers * 32 + 255) / 256 * 256;
    const int by_registers = a_warp ? (int)(65536 / 4 / a_warp * 4) / warps : device.blocks;
    const size_t shared = (kernel->shared + dynamic + 1024 + 127) / 128 * 128;
    const int by_shared = kernel->shared + dynamic > device.shared ? 0 : (int)(device.all_shared / shared);
    int least = by_warps < by_registers ? by_warps : by_registers;
    least = least < by_shared ? least : by_shared;
    *blocks = least < device.blocks ? least : device.blocks;
    return SUCCESS;
}

int cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* function, int threads, size_t dynamic) {
    return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, dynamic, 0);
}
