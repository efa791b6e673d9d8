/* The C interface of libzerrow_shim.so, the allocator shim that is preloaded into workers.
 *
 * Found with dlsym(RTLD_DEFAULT, "zerrow_shim_..."), so nothing links against it. The shim sleeps,
 * and every call goes to libc, until zerrow_shim_start. From then on large allocations (malloc
 * family from 64 KiB, private anonymous mmap from 256 KiB) lie in chunks, files that the engine's
 * broker hands out and can pass on as segments. If the broker refuses or is gone, allocations are
 * ordinary memory. All functions are thread safe; none sets errno.
 *
 * fork() gives the child a copy-on-write snapshot, as ever. It *retires* the chunks mapped at that
 * moment: nothing new is put there, and what is written there afterwards stays private. In the
 * child the shim is asleep again for good. vfork and posix_spawn change nothing; a bare _Fork() or
 * clone() without CLONE_VM would share the chunks with the child and must not be used. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Starts serving allocations with chunks from the broker at the other end of broker_fd, a
 * SOCK_SEQPACKET socket (broker_protocol.h) that the shim owns from here on, whatever it returns.
 * 0, or an errno value: EALREADY if it was started before in this process or an ancestor, ENOMEM if
 * no address space is left, EINVAL if broker_fd isn't a socket. */
int zerrow_shim_start(int broker_fd);

struct zerrow_shim_range {
  uint64_t segment;
  uint64_t address; /* of the segment's first byte */
  uint64_t size_bytes;
};

/* The chunks now mapped whose every byte is the file's: an address in one of them stands for
 * (segment, address - range.address). Writes at most `capacity` ranges, in order of address, and
 * returns how many there are. */
size_t zerrow_shim_ranges(struct zerrow_shim_range* out, size_t capacity);

/* The other chunks: retired by a fork, or partly covered by a mapping of the program's own. A
 * buffer in one of them may be shared only if zerrow_shim_shareable says so. */
size_t zerrow_shim_partial_ranges(struct zerrow_shim_range* out, size_t capacity);

/* 1 if the bytes at `address` are those of the chunk's file, so that a reference to it may be
 * published; 0 if not, or if `address` isn't in a chunk. Reads /proc/self/pagemap for retired
 * chunks; without /proc they are not shareable. Holds until the next write to the buffer. */
int zerrow_shim_shareable(const void* address, size_t size_bytes);

/* For a process that is about to exit: unmaps all chunks and whatever else lies in their range.
 * Whoever touches memory that was allocated there gets SIGSEGV, and whoever allocates or frees
 * large memory waits for ever. */
void zerrow_shim_let_go(void);

struct zerrow_shim_stats {
  uint64_t allocations;     /* served from chunks since the start */
  uint64_t allocated_bytes; /* what they asked for */
  uint64_t refused;         /* large allocations that became ordinary memory */
  uint64_t grants;          /* chunks received, and their bytes */
  uint64_t granted_bytes;
  uint64_t releases;       /* chunks given back to the broker */
  uint64_t zeroed_bytes;   /* by memset, where zeros were owed */
  uint64_t punched_bytes;  /* by punching the file */
  uint64_t copied_bytes;   /* by realloc and mremap that had to move */
  uint64_t retired_chunks; /* by fork */
};

/* Counters for tests and benchmarks; all zeros while asleep. */
void zerrow_shim_get_stats(struct zerrow_shim_stats* out);

#ifdef __cplusplus
}
#endif
