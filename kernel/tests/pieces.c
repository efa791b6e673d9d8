// SPDX-License-Identifier: GPL-2.0
/*
 * Ranges larger than a piece: they come into the file as if they were one, and only a piece of them
 * is held at a time. Pieces are as small as they can be here, a huge page each.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kz_test.h"

#define COUNT 4
#define LENGTH (COUNT * HUGE)

static void use_small_pieces(void)
{
	CHECK_OK(kz_set_parameter("piece_pages", HUGE / PAGE));
}

static off_t size_of(int fd)
{
	struct stat status;

	CHECK_OK(fstat(fd, &status));
	return status.st_size;
}

static long long counter(const char *name)
{
	return read_field("/sys/module/kernelzero/parameters/counters", name);
}

/* How many mappings there are in a range of addresses, of those whose lines have @with. */
static size_t mappings_in(const char *start, size_t length, const char *with)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	size_t count = 0;
	char line[256];

	CHECK(maps);
	while (fgets(line, sizeof(line), maps)) {
		unsigned long from, to;

		CHECK_EQ(sscanf(line, "%lx-%lx", &from, &to), 2);
		count += from < (uintptr_t)start + length && to > (uintptr_t)start &&
			 strstr(line, with);
	}
	fclose(maps);
	return count;
}

/* All of a range of small pages is in the file, in the same frames, and in one view. */
static void moves_whole(size_t begin, size_t end, unsigned int flags)
{
	char *memory = map_aligned(LENGTH, HUGE), *map;
	size_t first = (begin + PAGE - 1) / PAGE, count = end / PAGE - first;
	size_t edges = (begin % PAGE != 0) + (end % PAGE != 0);
	int fd = CHECK_OK(kz_create());
	struct kz_move account;
	uint64_t *frames;
	long long offset;

	CHECK_OK(madvise(memory, LENGTH, MADV_NOHUGEPAGE));
	fill(memory, LENGTH, 1);
	frames = frames_of(memory + first * PAGE, count);
	/* So that it doesn't begin where huge pages do by chance. */
	CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, map_pages(PAGE), PAGE, NULL), 0);
	offset = CHECK_OK(kz_move_one(fd, flags | KZ_MOVE_EDGES, memory + begin, end - begin,
				      &account));
	CHECK_EQ(account.done, 1);
	CHECK_EQ(account.partial_bytes, 0);
	CHECK_EQ(account.moved_pages, count);
	CHECK_EQ(account.copied_pages, edges);
	CHECK_EQ((uintptr_t)(memory + begin - offset) % HUGE, 0);
	CHECK_EQ(file_differing(fd, offset, end - begin, 1, begin), 0);
	if (flags & KZ_MOVE_UNMAP) {
		CHECK_EQ(mappings_in(memory + first * PAGE, count * PAGE, ""), 0);
	} else {
		CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
		CHECK_EQ(same_frames(memory + first * PAGE, count, frames), count);
		CHECK_EQ(mappings_in(memory + first * PAGE, count * PAGE, "kernelzero"), 1);
	}
	map = map_file(fd, (off_t)(offset - begin + first * PAGE), count * PAGE);
	CHECK_EQ(same_frames(map, count, frames), count);
	free(frames);
	munmap(memory, LENGTH);
	munmap(map, count * PAGE);
	close(fd);
}

static void pages(void)
{
	size_t flags;

	use_small_pieces();
	for (flags = 0; flags <= KZ_MOVE_UNMAP; flags += KZ_MOVE_UNMAP) {
		moves_whole(0, LENGTH, flags);
		moves_whole(3 * PAGE, LENGTH - PAGE, flags);
		moves_whole(3 * PAGE + 100, LENGTH - 100, flags);
		/* The first piece, or the last, is an edge. */
		moves_whole(HUGE - 100, LENGTH, flags);
		moves_whole(0, 2 * HUGE + 100, flags);
	}
}

/* Those that the range has whole stay so, also if the first comes in a later piece. */
static void huge_pages(void)
{
	char *memory = map_huge(LENGTH), *map;
	struct kz_move account;
	int fd = CHECK_OK(kz_create());
	long long offset;

	use_small_pieces();
	fill(memory, LENGTH, 1);
	offset = CHECK_OK(kz_move_one(fd, 0, memory + 5 * PAGE, LENGTH - 5 * PAGE, &account));
	CHECK_EQ(account.moved_pages, (LENGTH - 5 * PAGE) / PAGE);
	CHECK_EQ(account.huge_pages, (COUNT - 1) * HUGE / PAGE);
	CHECK_EQ(file_differing(fd, offset, LENGTH - 5 * PAGE, 1, 5 * PAGE), 0);
	map = map_file(fd, (off_t)(offset + HUGE - 5 * PAGE), LENGTH - HUGE);
	CHECK(is_huge(map));
	CHECK(is_huge(memory + 3 * HUGE));
	CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
}

/* Advice that the range had makes no more mappings of it. */
static void advised(void)
{
	char *memory = map_huge(LENGTH);
	int fd = CHECK_OK(kz_create());
	pid_t child;

	use_small_pieces();
	fill(memory, LENGTH, 1);
	CHECK_OK(madvise(memory, LENGTH, MADV_DONTFORK));
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
	CHECK_EQ(mappings_in(memory, LENGTH, "kernelzero"), 1);
	child = kz_fork();
	if (!child) {
		CHECK_EQ(mappings_in(memory, LENGTH, ""), 0);
		_exit(0);
	}
	reap(child);
	CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
}

/* A user may have two pieces of four: the others are untouched, and can follow later. */
static void partly_done(unsigned int flags)
{
	size_t begin = 100, end = LENGTH - 100, half = 2 * HUGE - begin;
	char *memory = map_aligned(LENGTH, HUGE);
	struct kz_range ranges[] = { range_of(map_pages(PAGE), PAGE),
				     range_of(memory + begin, end - begin),
				     range_of(map_pages(PAGE), PAGE) };
	int fd = CHECK_OK(kz_create());
	struct kz_move account;
	uint64_t *frames;

	use_small_pieces();
	fill(memory, LENGTH, 1);
	CHECK_OK(kz_set_parameter("max_user_bytes", 3 * HUGE));
	frames = frames_of(memory + 2 * HUGE, 2 * HUGE / PAGE);
	CHECK_ERRNO(kz_move(fd, flags | KZ_MOVE_EDGES, ranges, 3, &account), EDQUOT);
	CHECK_EQ(account.done, 1);
	CHECK_EQ(account.partial_bytes, half);
	CHECK_EQ(account.moved_pages + account.copied_pages, 1 + 2 * HUGE / PAGE);
	CHECK_EQ(account.file_size, ranges[1].offset + half);
	CHECK_EQ(size_of(fd), account.file_size);
	CHECK_EQ(ranges[2].offset, 0);
	CHECK_EQ(file_differing(fd, (off_t)ranges[1].offset, half, 1, begin), 0);
	CHECK_EQ(mappings_in(memory + PAGE, half - PAGE, "kernelzero"), !(flags & KZ_MOVE_UNMAP));
	CHECK_EQ(mappings_in(memory + 2 * HUGE, LENGTH - 2 * HUGE, "kernelzero"), 0);
	CHECK_EQ(differing(memory + 2 * HUGE, LENGTH - 2 * HUGE, 1, 2 * HUGE), 0);
	CHECK_OK(kz_set_parameter("max_user_bytes", 0));
	CHECK_EQ(same_frames(memory + 2 * HUGE, 2 * HUGE / PAGE, frames), 2 * HUGE / PAGE);
	free(frames);
	CHECK_EQ(kz_move_one(fd, flags | KZ_MOVE_EDGES, memory + 2 * HUGE, end - 2 * HUGE, NULL),
		 ranges[1].offset + half);
	CHECK_EQ(file_differing(fd, (off_t)ranges[1].offset, end - begin, 1, begin), 0);
	if (!(flags & KZ_MOVE_UNMAP))
		CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
}

static void limited(void)
{
	partly_done(0);
}

static void limited_given_up(void)
{
	partly_done(KZ_MOVE_UNMAP);
}

/* The call of a killed process ends with a piece: its file is left with whole ones, and not all. */
static void killed(void)
{
	size_t length = 64 * HUGE;
	int sockets[2], fd;
	pid_t owner;

	use_small_pieces();
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	owner = kz_fork();
	if (!owner) {
		char *memory = map_aligned(length, HUGE);

		fd = CHECK_OK(kz_create());
		CHECK_OK(madvise(memory, length, MADV_NOHUGEPAGE));
		fill(memory, length, 1);
		send_fd(sockets[1], fd);
		kz_move_one(fd, 0, memory, length, NULL);
		_exit(0);
	}
	fd = receive_fd(sockets[0]);
	/* The second one is under way. */
	while (size_of(fd) <= (off_t)HUGE)
		;
	CHECK_OK(kill(owner, SIGKILL));
	CHECK_EQ(kz_wait(owner), SIGKILL);
	CHECK(size_of(fd) >= (off_t)HUGE);
	CHECK(size_of(fd) < (off_t)length);
	CHECK_EQ(size_of(fd) % HUGE, 0);
	CHECK_EQ(file_differing(fd, 0, (size_t)size_of(fd), 1, 0), 0);
}

/* Ranges that touch */

#define PARTS 5

/* Each begins where the one before ends; from so many bytes on, up to so many before LENGTH. */
static const size_t kz_parts[PARTS + 1] = {
	100, 3 * PAGE, HUGE - 2 * PAGE, HUGE + 5 * PAGE, LENGTH - HUGE, LENGTH - 100,
};

static void touching_ranges(char *memory, struct kz_range *ranges)
{
	size_t i;

	for (i = 0; i < PARTS; i++)
		ranges[i] = range_of(memory + kz_parts[i], kz_parts[i + 1] - kz_parts[i]);
}

/* What is done of touching ranges lies in the file one behind the other, and there is one view. */
static void check_touching(int fd, const char *memory, const struct kz_range *ranges, size_t done,
			   bool viewed)
{
	size_t i;

	for (i = 0; i < done; i++) {
		CHECK_EQ(ranges[i].offset - ranges[0].offset, kz_parts[i] - kz_parts[0]);
		CHECK_EQ(file_differing(fd, (off_t)ranges[i].offset, ranges[i].length, 1,
					kz_parts[i]), 0);
	}
	if (done == PARTS && viewed)
		CHECK_EQ(mappings_in(memory + PAGE, LENGTH - 2 * PAGE, "kernelzero"), 1);
}

static void move_touching(char *memory, unsigned int flags, size_t huge_pages)
{
	int fd = CHECK_OK(kz_create());
	long long pieces = counter("pieces");
	struct kz_range ranges[PARTS];
	struct kz_move account;

	fill(memory, LENGTH, 1);
	touching_ranges(memory, ranges);
	CHECK_OK(kz_move(fd, flags | KZ_MOVE_EDGES, ranges, PARTS, &account));
	CHECK_EQ(counter("pieces") - pieces, 1);
	CHECK_EQ(account.done, PARTS);
	CHECK_EQ(account.partial_bytes, 0);
	CHECK_EQ(account.moved_pages, LENGTH / PAGE - 2);
	CHECK_EQ(account.copied_pages, 2);
	CHECK_EQ(account.huge_pages, huge_pages);
	check_touching(fd, memory, ranges, PARTS, !flags);
	if (!flags)
		CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
}

static void touching(void)
{
	move_touching(map_pages(LENGTH), KZ_MOVE_UNMAP, 0);
	move_touching(map_pages(LENGTH), 0, 0);
}

/* Huge pages that no range has alone stay huge. */
static void touching_in_huge_pages(void)
{
	move_touching(map_huge(LENGTH), 0, (COUNT - 2) * HUGE / PAGE);
	move_touching(map_huge(LENGTH), KZ_MOVE_DISCARD, (COUNT - 2) * HUGE / PAGE);
}

/* One has other rights: it moves by itself. */
static void touching_of_other_rights(void)
{
	char *memory = map_pages(4 * PAGE);
	struct kz_range ranges[] = { range_of(memory, PAGE), range_of(memory + PAGE, PAGE),
				     range_of(memory + 2 * PAGE, 2 * PAGE) };
	long long pieces = counter("pieces");
	struct kz_move account;
	int fd = CHECK_OK(kz_create());

	fill(memory, 4 * PAGE, 1);
	CHECK_OK(mprotect(memory + 2 * PAGE, 2 * PAGE, PROT_READ));
	CHECK_OK(kz_move(fd, 0, ranges, 3, &account));
	CHECK_EQ(account.done, 3);
	CHECK_EQ(account.moved_pages, 4);
	CHECK_EQ(counter("pieces") - pieces, 2);
	CHECK_EQ(file_differing(fd, 0, 4 * PAGE, 1, 0), 0);
	CHECK_EQ(mappings_in(memory, 2 * PAGE, "rw-p"), 1);
	CHECK_EQ(mappings_in(memory + 2 * PAGE, 2 * PAGE, "r--p"), 1);
}

/* Stopped after each number of pieces, which end within ranges: the rest can follow. */
static void touching_in_part(void)
{
	size_t room, i;

	use_small_pieces();
	for (room = 1; room <= COUNT; room++) {
		char *memory = map_aligned(LENGTH, HUGE);
		struct kz_range ranges[PARTS], rest[PARTS];
		int fd = CHECK_OK(kz_create());
		struct kz_move account;
		size_t done, bytes;

		CHECK_OK(madvise(memory, LENGTH, MADV_NOHUGEPAGE));
		fill(memory, LENGTH, 1);
		touching_ranges(memory, ranges);
		CHECK_OK(kz_set_parameter("max_user_bytes",
					  room == 1 ? (long)PAGE : (long)((room - 1) * HUGE)));
		CHECK_ERRNO(kz_move(fd, KZ_MOVE_EDGES, ranges, PARTS, &account), EDQUOT);
		CHECK_OK(kz_set_parameter("max_user_bytes", 0));
		done = account.done;
		bytes = done == PARTS ? 0 : kz_parts[done] + account.partial_bytes;
		CHECK_EQ(bytes, room == 1 ? 100 : (room - 1) * HUGE);
		check_touching(fd, memory, ranges, done, false);
		CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
		memcpy(rest, ranges + done, (PARTS - done) * sizeof(*rest));
		for (i = account.partial_bytes ? 1 : 0; i < PARTS - done; i++)
			CHECK_EQ(rest[i].offset, 0);
		rest[0].addr += account.partial_bytes;
		rest[0].length -= account.partial_bytes;
		CHECK_OK(kz_move(fd, KZ_MOVE_EDGES, rest, PARTS - done, NULL));
		if (!account.partial_bytes)
			ranges[done].offset = rest[0].offset;
		for (i = 1; i < PARTS - done; i++)
			ranges[done + i].offset = rest[i].offset;
		check_touching(fd, memory, ranges, PARTS, false);
		CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
		close(fd);
		munmap(memory, LENGTH);
	}
}

/* Memory that moves while its process forks */
struct moving {
	char *memory;
	size_t length;
	int fd;
};

static void *move_all(void *argument)
{
	struct moving *moving = argument;

	CHECK_EQ(kz_move_one(moving->fd, 0, moving->memory, moving->length, NULL), 0);
	return NULL;
}

/*
 * How many pages a child that is forked during a move gets as copies. One child only: others would
 * let the parent's frames change, too, when they are pinned.
 */
static size_t copied_by_fork(struct moving *moving, unsigned int wait_ms)
{
	size_t pages = moving->length / PAGE, copied;
	uint64_t *frames = frames_of(moving->memory, pages);
	pthread_t mover;
	int pipes[2];
	pid_t child;

	CHECK_OK(pipe(pipes));
	CHECK_EQ(pthread_create(&mover, NULL, move_all, moving), 0);
	kz_sleep_ms(wait_ms);
	child = kz_fork();
	if (!child) {
		copied = pages - same_frames(moving->memory, pages, frames);
		CHECK_EQ(write(pipes[1], &copied, sizeof(copied)), sizeof(copied));
		_exit(0);
	}
	CHECK_EQ(read(pipes[0], &copied, sizeof(copied)), sizeof(copied));
	reap(child);
	CHECK_EQ(pthread_join(mover, NULL), 0);
	close(pipes[0]);
	close(pipes[1]);
	free(frames);
	return copied;
}

static void forked(void)
{
	uint64_t random = kz_options.seed;
	size_t copied, length = 8 * HUGE;

	use_small_pieces();
	/* Until one comes in a moment in which pages are pinned. */
	do {
		struct moving moving = { map_aligned(length, HUGE), length,
					 (int)CHECK_OK(kz_create()) };

		CHECK_OK(madvise(moving.memory, length, MADV_NOHUGEPAGE));
		fill(moving.memory, length, 1);
		copied = copied_by_fork(&moving, 1 + kz_random(&random) % 8);
		CHECK(copied <= HUGE / PAGE);
		munmap(moving.memory, length);
		close(moving.fd);
	} while (!copied);
}

static const struct kz_case cases[] = {
	{ "pages", pages },
	{ "huge_pages", huge_pages },
	{ "advised", advised },
	{ "limited", limited },
	{ "limited_given_up", limited_given_up },
	{ "touching", touching },
	{ "touching_in_huge_pages", touching_in_huge_pages },
	{ "touching_of_other_rights", touching_of_other_rights },
	{ "touching_in_part", touching_in_part },
	{ "killed", killed },
	{ "forked", forked },
};

KZ_MAIN(cases)
