/* SPDX-License-Identifier: GPL-2.0 */
/* What a model's thread knows of its memory and files. */
#ifndef FUZZ_MODEL_H
#define FUZZ_MODEL_H

#include "fuzz.h"

#define REGIONS 6
#define FILES 3
#define MAX_RANGES 4
#define MAX_PAGES 700
#define PUBLISHED 2048
#define CHILDREN 2

enum kind { PAGES, HUGE_PAGES, ASKEW, MERGEABLE, REFUSED };
enum state { ANONYMOUS, VIEW, GONE };

/* What is known of a page: 0 as an id are zeros, others what fill() makes of them. */
struct page {
	uint64_t id;
	enum state state;
	bool writable, changed;
	uint64_t file_id, inode;
	off_t offset;
};

struct region {
	char *start;
	size_t pages;
	enum kind kind;
	struct page page[MAX_PAGES];
};

struct file {
	int fd;
	uint64_t inode;
	bool shared;	/* others append to it as well */
};

/* Bytes of a file that were checked once, and must stay. */
struct published {
	uint64_t inode, id;
	off_t offset;
	size_t length, place;
};

struct model {
	uint64_t random;
	double end;
	struct region regions[REGIONS];
	struct file files[FILES];
	struct published published[PUBLISHED];
	pid_t children[CHILDREN];
	int pipe_ends[2];
};

void check_bytes(const void *bytes, size_t length, uint64_t id, size_t place);
void check_region(const struct region *region, size_t first, size_t count);

/* fuzz_move.c */
void move_ranges(struct model *model);
void query_region(struct model *model);
void check_published(struct model *model);

#endif
