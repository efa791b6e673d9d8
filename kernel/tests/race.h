/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that threads count in while it moves. Every page of it holds two counters of each writer:
 * the first is written before the second, so that in whatever a page shows of one moment the first
 * is at most one ahead. A writer knows what it has written: a counter that it finds otherwise is a
 * write that got lost.
 */
#ifndef RACE_H
#define RACE_H

#include <stdatomic.h>

#include "kz_test.h"

#define WRITERS 2
#define MAX_PAGES 1024UL

/**
 * struct race - a round: memory that is counted in, and the file that it moves into
 * @memory: @pages of it; the writers count in the first @counted, and leave the others to whoever
 *	disturbs
 * @fd: the file
 * @stop: ends all threads
 * @written: how far each writer has come in each page: the counters show this much or one more
 * @published: what the file has of each page, as far as @in_file says
 * @writes: of all writers
 */
struct race {
	char *memory;
	size_t pages, counted;
	int fd;
	atomic_bool stop;
	_Atomic uint64_t written[WRITERS][MAX_PAGES];
	char *published;
	off_t in_file[MAX_PAGES];
	atomic_ulong writes;
};

/* What another thread does while memory moves, until race->stop. */
typedef void (*disturbance)(struct race *race);

/* A counter of a page: writer 0 ..., the one written first or the second. */
static inline _Atomic uint64_t *counter_of(const void *page, size_t writer, bool second)
{
	return (_Atomic uint64_t *)page + (second ? 511 - 8 * writer : 8 * writer);
}

/* Bytes of a page that no counter is in. */
#define UNUSED_BYTE 1024
#define UNUSED_BYTES 2048

/* race.c */
double seconds_now(void);

/* race_given_up.c */
void discarded_and_given_up(void);
void discarded_by_both(void);

/* race_disturb.c; the second part of them uses the pages that the writers don't. */
void forks(struct race *race);
void pages_out(struct race *race);
void takes_swap(struct race *race);
void collapses(struct race *race);
void protects(struct race *race);
void queries(struct race *race);
void merges(struct race *race);
void reads_memory(struct race *race);
void reads_file(struct race *race);
void reads_beyond(struct race *race);
void measures(struct race *race);
void handles_faults(struct race *race);
void discards(struct race *race);
void unmaps(struct race *race);
void unmaps_what_is_out(struct race *race);
void maps_hugetlb(struct race *race);
void remaps(struct race *race);

#endif
