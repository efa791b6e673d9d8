/* What a worker's allocator shim and the engine's chunk broker say to each other.
 *
 * One SOCK_SEQPACKET socket per worker, one struct per packet, host byte order: both ends are
 * built together and run on one machine. The worker asks and waits for one reply at a time; a
 * RELEASE has no reply. The broker trusts nothing that arrives here: a packet of another length,
 * an unknown op or a segment that the worker wasn't granted ends the conversation. When either end
 * dies the other sees end of file, and a worker then goes on with ordinary memory.
 * Plain C, without includes of ours, as the shim links nothing. */
#pragma once

#include <stdint.h>

/* NOLINTBEGIN(readability-identifier-naming): C names */
enum {
  /* Asks for a chunk of at least size_bytes. segment is 0. Answered by a reply. */
  ZERROW_BROKER_GRANT = 1,
  /* Gives the chunk `segment` back: wholly free and no longer mapped. size_bytes is 0. */
  ZERROW_BROKER_RELEASE = 2,
};
/* NOLINTEND(readability-identifier-naming) */

struct zerrow_broker_request {
  uint32_t op;
  uint32_t reserved; /* 0 */
  uint64_t size_bytes;
  uint64_t segment;
};

/* Comes with the chunk's file, open for reading and writing, by SCM_RIGHTS; without one if error
 * is not 0. */
struct zerrow_broker_reply {
  uint64_t segment;
  uint64_t size_bytes; /* of the file; at least what was asked */
  uint32_t error;      /* an errno value; 0: granted */
  uint32_t dirty;      /* 1: the file may hold old bytes of this run; 0: all zeros */
};
