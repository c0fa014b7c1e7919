/* What recorder.c tells the stand-in for the CUDA runtime (runtime.c). */
#ifndef EVO_RUNTIME_H
#define EVO_RUNTIME_H

#include <stddef.h>
#include <stdio.h>

struct evo_device {
    int capability; /* 90: compute capability 9.0 */
    int multiprocessors; /* 0: not known */
    int warps, blocks; /* of a multiprocessor at most */
    size_t shared, all_shared; /* bytes a block may have; bytes a multiprocessor has */
};

struct evo_kernel {
    char name[4096]; /* mangled */
    unsigned registers; /* a thread */
    unsigned threads; /* a block at most by its launch bounds; 0: as many as the device allows */
    size_t shared; /* static bytes a block */
    size_t count; /* parameters */
    size_t* sizes; /* bytes of each */
    int allowed; /* bytes of dynamic shared memory that were asked for */
    int carved; /* whether it has a carveout of its own */
    int wide; /* whether clusters of more than 8 blocks were asked for */
};

void evo_begin(FILE* to, const struct evo_device* of, struct evo_kernel* kernels, size_t count, void* stream);
void evo_scrub(void);

#endif
