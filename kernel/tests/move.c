// SPDX-License-Identifier: GPL-2.0
/* What moves: the pages themselves, whole huge ones among them, and nothing beside the range. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kz_test.h"

static off_t size_of(int fd)
{
	struct stat status;

	CHECK_OK(fstat(fd, &status));
	return status.st_size;
}

/* A process that was there before the file gets it through a socket, and sees the same frames. */
static pid_t start_reader(int socket, size_t length, const uint64_t *frames, bool huge)
{
	pid_t reader = kz_fork();
	char *map;
	int fd;

	if (reader)
		return reader;
	fd = receive_fd(socket);
	map = map_file(fd, 0, length);
	CHECK_EQ(differing(map, length, 1, 0), 0);
	CHECK_EQ(same_frames(map, length / PAGE, frames), length / PAGE);
	CHECK_EQ(is_huge(map), huge);
	CHECK_EQ(file_differing(fd, 0, length, 1, 0), 0);
	_exit(EXIT_SUCCESS);
}

static void same_frames_in_owner_and_reader(char *memory, size_t length, unsigned int flags,
					    bool huge)
{
	size_t count = length / PAGE, bytes = count * sizeof(uint64_t);
	uint64_t *frames = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				-1, 0);
	struct kz_move account;
	int sockets[2], fd;
	uint64_t *noted;
	pid_t reader;

	CHECK_OK(frames);
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	CHECK_OK(madvise(memory, length, MADV_DONTFORK));
	reader = start_reader(sockets[1], length, frames, huge);
	fill(memory, length, 1);
	noted = frames_of(memory, count);
	memcpy(frames, noted, bytes);
	fd = CHECK_OK(kz_create());
	CHECK_EQ(kz_move_one(fd, flags, memory, length, &account), 0);
	CHECK_EQ(account.done, 1);
	CHECK_EQ(account.file_size, length);
	CHECK_EQ(account.moved_pages, count);
	CHECK_EQ(account.huge_pages, huge ? count : 0);
	CHECK_EQ(account.copied_pages, 0);
	CHECK_EQ(size_of(fd), length);
	if (flags & KZ_MOVE_UNMAP) {
		CHECK(!is_mapped(memory));
		CHECK(!is_mapped(memory + length - 1));
	} else if (flags & KZ_MOVE_DISCARD) {
		CHECK_EQ(not_zero(memory, length), 0);
	} else {
		CHECK_EQ(differing(memory, length, 1, 0), 0);
		CHECK_EQ(same_frames(memory, count, frames), count);
		CHECK_EQ(is_huge(memory), huge);
	}
	send_fd(sockets[0], fd);
	reap(reader);
}

static void pages(void)
{
	same_frames_in_owner_and_reader(map_pages(MIB), MIB, 0, false);
}

static void pages_given_up(void)
{
	same_frames_in_owner_and_reader(map_pages(MIB), MIB, KZ_MOVE_UNMAP, false);
}

static void pages_discarded(void)
{
	same_frames_in_owner_and_reader(map_pages(MIB), MIB, KZ_MOVE_DISCARD, false);
}

static void huge(void)
{
	same_frames_in_owner_and_reader(map_huge(4 * HUGE), 4 * HUGE, 0, true);
}

static void huge_given_up(void)
{
	same_frames_in_owner_and_reader(map_huge(4 * HUGE), 4 * HUGE, KZ_MOVE_UNMAP, true);
}

static void huge_discarded(void)
{
	same_frames_in_owner_and_reader(map_huge(4 * HUGE), 4 * HUGE, KZ_MOVE_DISCARD, true);
}

/* What is left is the memory that it was: it can be used, and moved again. */
static void discarded_again(void)
{
	char *memory = map_pages(2 * PAGE);
	int fd = CHECK_OK(kz_create());
	uint64_t seed;

	for (seed = 1; seed <= 3; seed++) {
		fill(memory, 2 * PAGE, seed);
		CHECK_EQ(kz_move_one(fd, KZ_MOVE_DISCARD, memory, 2 * PAGE, NULL),
			 (seed - 1) * 2 * PAGE);
		CHECK_EQ(file_differing(fd, (off_t)((seed - 1) * 2 * PAGE), 2 * PAGE, seed, 0), 0);
		CHECK_EQ(not_zero(memory, 2 * PAGE), 0);
	}
	CHECK_ERRNO(kz_move_one(fd, KZ_MOVE_DISCARD | KZ_MOVE_UNMAP, memory, PAGE, NULL), EINVAL);
}

/* In KiB, after each processor has told what it counted. */
static long long memory_counter(const char *name)
{
	CHECK_OK(write_text("/proc/sys/vm/stat_refresh", "1"));
	return read_field("/proc/meminfo", name);
}

/* Whether Shmem is as many KiB; but for a few pages, as others write to tmpfs as well. */
static bool is_shmem(long long expected)
{
	return llabs(memory_counter("Shmem") - expected) <= 64;
}

static void counted_as_shmem(void)
{
	long long shmem = memory_counter("Shmem"), huge = memory_counter("ShmemHugePages");
	long long anonymous = memory_counter("AnonHugePages");
	size_t length = 8 * HUGE;
	long long kib = 8 * HUGE / 1024;
	char *memory = map_huge(length);
	int fd = CHECK_OK(kz_create());

	CHECK_EQ(memory_counter("AnonHugePages"), anonymous + kib);
	CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, memory, length, NULL), 0);
	CHECK(is_shmem(shmem + kib));
	CHECK_EQ(memory_counter("ShmemHugePages"), huge + kib);
	CHECK_EQ(memory_counter("AnonHugePages"), anonymous);
	close(fd);
	CHECK(is_shmem(shmem));
	CHECK_EQ(memory_counter("ShmemHugePages"), huge);
}

#define ANONYMOUS_OF_A_SIZE "/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/stats/nr_anon"

/* Newer kernels count those that there are, of each size, until they see one go that is anonymous. */
static void counted_by_size(void)
{
	long long before;
	char *memory;
	int fd;

	if (access(ANONYMOUS_OF_A_SIZE, R_OK))
		kz_skip("the kernel doesn't count huge pages by their size");
	before = read_number(ANONYMOUS_OF_A_SIZE);
	memory = map_huge(8 * HUGE);
	fd = CHECK_OK(kz_create());
	CHECK_EQ(read_number(ANONYMOUS_OF_A_SIZE), before + 8);
	CHECK_EQ(kz_move_one(fd, 0, memory, 8 * HUGE, NULL), 0);
	CHECK_EQ(read_number(ANONYMOUS_OF_A_SIZE), before);
	CHECK_OK(munmap(memory, 8 * HUGE));
	close(fd);
	CHECK_EQ(read_number(ANONYMOUS_OF_A_SIZE), before);
}

/* Behind small pages the file gets a hole, so that the huge page lies in it as in memory. */
static void huge_behind_pages(void)
{
	char *small = map_pages(3 * PAGE), *large = map_huge(2 * HUGE), *map;
	struct kz_range ranges[] = { range_of(small, 3 * PAGE), range_of(large, 2 * HUGE) };
	struct kz_move account;
	int fd = CHECK_OK(kz_create());
	struct stat status;
	char hole[PAGE];

	fill(small, 3 * PAGE, 1);
	fill(large, 2 * HUGE, 2);
	CHECK_OK(kz_move(fd, 0, ranges, 2, &account));
	CHECK_EQ(ranges[0].offset, 0);
	CHECK_EQ(ranges[1].offset, HUGE);
	CHECK_EQ(account.file_size, 3 * HUGE);
	CHECK_EQ(account.huge_pages, 1024);
	CHECK_EQ(account.moved_pages, 1027);
	CHECK_EQ(kz_parameter("live_pages"), 3 * 512);
	/* Reading the hole puts no page there, */
	CHECK_EQ(pread(fd, hole, PAGE, 100 * PAGE), PAGE);
	CHECK_EQ(not_zero(hole, PAGE), 0);
	CHECK_OK(fstat(fd, &status));
	CHECK_EQ(status.st_blocks, 1027 * (PAGE / 512));
	/* mapping it may. */
	map = map_file(fd, 0, 3 * HUGE);
	CHECK_EQ(differing(map, 3 * PAGE, 1, 0), 0);
	CHECK_EQ(not_zero(map + 3 * PAGE, HUGE - 3 * PAGE), 0);
	CHECK_EQ(differing(map + HUGE, 2 * HUGE, 2, 0), 0);
	CHECK(is_huge(map + HUGE));
}

/* The range has the end of one huge page, a whole one, and the begin of another. */
static void parts_of_huge(void)
{
	size_t length = 3 * HUGE, before = 5 * PAGE, after = 7 * PAGE;
	char *memory = map_huge(length), *moved = memory + before, *map;
	size_t count = (length - before - after) / PAGE;
	struct kz_version version;
	struct kz_move account;
	long long offset;
	uint64_t *frames;
	int fd = CHECK_OK(kz_create());

	fill(memory, length, 1);
	frames = frames_of(moved, count);
	offset = CHECK_OK(kz_move_one(fd, 0, moved, count * PAGE, &account));
	CHECK_EQ((uintptr_t)(moved - offset) % HUGE, 0);
	CHECK_EQ(account.huge_pages, 512);
	CHECK_EQ(account.moved_pages + account.copied_pages, count);
	map = map_file(fd, offset, count * PAGE);
	CHECK_EQ(differing(map, count * PAGE, 1, before), 0);
	CHECK_EQ(differing(memory, length, 1, 0), 0);
	CHECK_EQ(same_frames(map, count, frames), account.moved_pages);
	CHECK_OK(kz_version(&version));
	if (version.capabilities & KZ_CAP_SPLIT_HUGE)
		CHECK_EQ(account.copied_pages, 0);
	/* What wasn't asked for is the owner's alone, and can still move. */
	CHECK_EQ(account.file_size, offset + count * PAGE);
	CHECK_OK(kz_move_one(fd, 0, memory, before, NULL));
	CHECK_EQ(differing(memory, length, 1, 0), 0);
}

static void many_ranges(void)
{
	enum { COUNT = 1000 };
	static struct kz_range ranges[COUNT];
	char *memory = map_pages(COUNT * 4 * PAGE);
	size_t i, expected = 0;
	struct kz_move account;
	int fd = CHECK_OK(kz_create());

	for (i = 0; i < COUNT; i++) {
		char *start = memory + i * 4 * PAGE;
		size_t length = (1 + i % 3) * PAGE;

		fill(start, 4 * PAGE, i);
		ranges[COUNT - 1 - i] = range_of(start, length);
	}
	CHECK_OK(kz_move(fd, 0, ranges, COUNT, &account));
	CHECK_EQ(account.done, COUNT);
	for (i = 0; i < COUNT; i++) {
		CHECK_EQ(ranges[i].offset, expected);
		CHECK_EQ(file_differing(fd, (off_t)expected, ranges[i].length, COUNT - 1 - i, 0),
			 0);
		CHECK_EQ(differing(memory + i * 4 * PAGE, 4 * PAGE, i, 0), 0);
		expected += ranges[i].length;
	}
	CHECK_EQ(account.file_size, expected);
	CHECK_EQ(account.moved_pages, expected / PAGE);
}

/* What is appended later shows in mappings that were longer than the file, and not before. */
static void appended(void)
{
	char *memory = map_pages(4 * PAGE), *map, byte;
	int fd = CHECK_OK(kz_create());

	fill(memory, 4 * PAGE, 1);
	CHECK_EQ(size_of(fd), 0);
	CHECK_EQ(pread(fd, &byte, 1, 0), 0);
	map = map_file(fd, 0, 4 * PAGE);
	CHECK(!is_readable(map));
	CHECK_EQ(kz_move_one(fd, 0, memory, PAGE, NULL), 0);
	CHECK_EQ(differing(map, PAGE, 1, 0), 0);
	CHECK(!is_readable(map + PAGE));
	CHECK_EQ(pread(fd, &byte, 1, PAGE), 0);
	CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, memory + PAGE, 3 * PAGE, NULL), PAGE);
	CHECK_EQ(differing(map, 4 * PAGE, 1, 0), 0);
	CHECK_EQ(size_of(fd), 4 * PAGE);
	CHECK_OK(kz_move(fd, 0, NULL, 0, NULL));
	CHECK_EQ(size_of(fd), 4 * PAGE);
}

static void untouched_are_zeros(void)
{
	size_t length = 16 * PAGE;
	char *memory = map_pages(length);
	struct kz_move account;
	int fd = CHECK_OK(kz_create());

	/* A page that was read only is the kernel's page of zeros, which must not move. */
	CHECK_EQ(memory[3 * PAGE], 0);
	fill(memory + 5 * PAGE, PAGE, 1);
	CHECK_EQ(kz_move_one(fd, 0, memory, length, &account), 0);
	CHECK_EQ(account.moved_pages, 16);
	CHECK_EQ(not_zero(memory, 5 * PAGE), 0);
	CHECK_EQ(not_zero(map_file(fd, 0, length), 5 * PAGE), 0);
	CHECK_EQ(not_zero(map_file(fd, 0, length) + 6 * PAGE, 10 * PAGE), 0);
	CHECK_EQ(file_differing(fd, 5 * PAGE, PAGE, 1, 0), 0);
}

/* A range over mappings that the kernel can't merge. */
static void over_mappings(void)
{
	size_t length = 12 * PAGE;
	char *memory = map_pages(length);
	int fd = CHECK_OK(kz_create());
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;

	CHECK_OK(mmap(memory, 4 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0));
	CHECK_OK(mmap(memory + 8 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0));
	CHECK_OK(madvise(memory, length, MADV_NOHUGEPAGE));
	fill(memory, length, 1);
	CHECK_EQ(kz_move_one(fd, 0, memory, length, NULL), 0);
	CHECK_EQ(differing(memory, length, 1, 0), 0);
	CHECK_EQ(file_differing(fd, 0, length, 1, 0), 0);
}

/* A thread that reads all the time what is moved piece by piece, one behind the other. */
struct reading {
	const char *memory;
	size_t length;
	atomic_bool stop;
};

static void *keep_reading(void *argument)
{
	struct reading *reading = argument;

	while (!reading->stop)
		CHECK_EQ(differing(reading->memory, reading->length, 1, 0), 0);
	return NULL;
}

static void read_meanwhile(void)
{
	size_t length = 256 * PAGE, at;
	struct reading reading = { .length = length };
	pthread_t reader;
	int turn;

	for (turn = 0; turn < 10; turn++) {
		int fd = CHECK_OK(kz_create());
		/* Without advice: then the views become one mapping. */
		char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK_OK(memory);
		fill(memory, length, 1);
		reading.memory = memory;
		reading.stop = false;
		CHECK_EQ(pthread_create(&reader, NULL, keep_reading, &reading), 0);
		for (at = 0; at < length; at += 2 * PAGE)
			CHECK_OK(kz_move_one(fd, 0, memory + at, 2 * PAGE, NULL));
		reading.stop = true;
		CHECK_EQ(pthread_join(reader, NULL), 0);
		CHECK_OK(munmap(memory, length));
		close(fd);
	}
}

/* malloc goes on with memory that was moved under its feet. */
static void heap(void)
{
	enum { COUNT = 60, LENGTH = 100000 };
	char *blocks[COUNT], *start, *end;
	int fd = CHECK_OK(kz_create());
	long long offset;
	size_t i;

	for (i = 0; i < COUNT; i++) {
		blocks[i] = malloc(LENGTH);
		CHECK(blocks[i]);
		fill(blocks[i], LENGTH, i);
	}
	start = blocks[10];
	end = blocks[20] + LENGTH;
	offset = CHECK_OK(kz_move_one(fd, KZ_MOVE_EDGES, start, (size_t)(end - start), NULL));
	for (i = 0; i < COUNT; i++)
		CHECK_EQ(differing(blocks[i], LENGTH, i, 0), 0);
	for (i = 0; i < COUNT; i += 2)
		free(blocks[i]);
	for (i = 0; i < 500; i++)
		memset(malloc(1 + i * 97 % 50000), 7, 1 + i * 97 % 50000);
	for (i = 1; i < COUNT; i += 2)
		CHECK_EQ(differing(blocks[i], LENGTH, i, 0), 0);
	for (i = 10; i <= 20; i++)
		CHECK_EQ(file_differing(fd, offset + (blocks[i] - start), LENGTH, i, 0), 0);
}

static void read_in_all_ways(void)
{
	size_t length = 5 * PAGE;
	char *memory = map_pages(length), *copy = malloc(2 * length);
	int fd = CHECK_OK(kz_create()), ends[2];

	CHECK(copy);
	fill(memory, length, 1);
	CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, memory, length, NULL), 0);
	CHECK_OK(pipe(ends));
	CHECK_EQ(read(fd, copy, 2 * length), length);
	CHECK_EQ(differing(copy, length, 1, 0), 0);
	CHECK_EQ(read(fd, copy, length), 0);
	CHECK_EQ(pread(fd, copy, 100, 4321), 100);
	CHECK_EQ(differing(copy, 100, 1, 4321), 0);
	CHECK_EQ(splice(fd, &(loff_t){ PAGE }, ends[1], NULL, 2 * PAGE, 0), 2 * PAGE);
	CHECK_EQ(read(ends[0], copy, length), 2 * PAGE);
	CHECK_EQ(differing(copy, 2 * PAGE, 1, PAGE), 0);
	CHECK_EQ(sendfile(ends[1], fd, &(off_t){ 4 * PAGE }, 2 * PAGE), PAGE);
	CHECK_EQ(read(ends[0], copy, length), PAGE);
	CHECK_EQ(differing(copy, PAGE, 1, 4 * PAGE), 0);
	CHECK_EQ(lseek(fd, 0, SEEK_END), length);
}

static const struct kz_case cases[] = {
	{ "pages", pages },
	{ "pages_given_up", pages_given_up },
	{ "huge", huge },
	{ "huge_given_up", huge_given_up },
	{ "pages_discarded", pages_discarded },
	{ "huge_discarded", huge_discarded },
	{ "discarded_again", discarded_again },
	{ "counted_as_shmem", counted_as_shmem },
	{ "counted_by_size", counted_by_size },
	{ "huge_behind_pages", huge_behind_pages },
	{ "parts_of_huge", parts_of_huge },
	{ "many_ranges", many_ranges },
	{ "appended", appended },
	{ "untouched_are_zeros", untouched_are_zeros },
	{ "over_mappings", over_mappings },
	{ "read_meanwhile", read_meanwhile },
	{ "heap", heap },
	{ "read_in_all_ways", read_in_all_ways },
};

KZ_MAIN(cases)
