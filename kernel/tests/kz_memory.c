// SPDX-License-Identifier: GPL-2.0
/* Memory: mapping, patterns, page frames, swap. */
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kz_test.h"

#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_SWAPPED (1ULL << 62)
#define PAGEMAP_FRAME ((1ULL << 55) - 1)

uint64_t kz_random(uint64_t *state)
{
	uint64_t mixed = *state += 0x9e3779b97f4a7c15ULL;

	mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
	mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
	return mixed ^ (mixed >> 31);
}

char *map_aligned(size_t length, size_t align)
{
	size_t reserved = length + 2 * align;
	char *map = mmap(NULL, reserved, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t start;

	CHECK_OK(map);
	start = ((uintptr_t)map + align) & -align;
	CHECK_OK(munmap(map, start - (uintptr_t)map));
	CHECK_OK(munmap((void *)(start + length), (uintptr_t)map + reserved - start - length));
	return (char *)start;
}

char *map_pages(size_t length)
{
	char *map = map_aligned(length, PAGE);

	CHECK_OK(madvise(map, length, MADV_NOHUGEPAGE));
	return map;
}

char *map_huge(size_t length)
{
	char *map = map_aligned(length, HUGE);
	size_t at;

	CHECK_OK(madvise(map, length, MADV_HUGEPAGE));
	for (at = 0; at < length; at += HUGE) {
		*(volatile char *)(map + at) = 0;
		if (!is_huge(map + at))
			kz_skip("the kernel gives no huge pages");
	}
	return map;
}

char *map_file(int fd, off_t offset, size_t length)
{
	void *map = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, offset);

	CHECK_OK(map);
	return map;
}

/* Patterns: word i of what a seed makes */

static uint64_t pattern(uint64_t seed, size_t word)
{
	return (word + 1) * 0x9e3779b97f4a7c15ULL ^ (seed + 1) * 0xd1342543de82ef95ULL;
}

static unsigned char pattern_byte(uint64_t seed, size_t place)
{
	return (unsigned char)(pattern(seed, place / 8) >> (place % 8 * 8));
}

void fill(void *address, size_t length, uint64_t seed)
{
	unsigned char *bytes = address;
	size_t i;

	for (i = 0; i + 8 <= length; i += 8) {
		uint64_t word = pattern(seed, i / 8);

		memcpy(bytes + i, &word, sizeof(word));
	}
	for (; i < length; i++)
		bytes[i] = pattern_byte(seed, i);
}

size_t differing(const void *address, size_t length, uint64_t seed, size_t place)
{
	const unsigned char *bytes = address;
	size_t i = 0, count = 0;

	while (i < length) {
		uint64_t word;

		if ((place + i) % 8 || i + 8 > length) {
			count += bytes[i] != pattern_byte(seed, place + i);
			i++;
			continue;
		}
		memcpy(&word, bytes + i, sizeof(word));
		word ^= pattern(seed, (place + i) / 8);
		for (; word; word >>= 8)
			count += (word & 0xff) != 0;
		i += 8;
	}
	return count;
}

size_t file_differing(int fd, off_t offset, size_t length, uint64_t seed, size_t place)
{
	static char buffer[64 * 1024];
	size_t count = 0;

	while (length) {
		size_t chunk = length < sizeof(buffer) ? length : sizeof(buffer);
		ssize_t got = pread(fd, buffer, chunk, offset);

		if (got <= 0)
			return count + length;
		count += differing(buffer, (size_t)got, seed, place);
		offset += got;
		place += (size_t)got;
		length -= (size_t)got;
	}
	return count;
}

size_t not_zero(const void *address, size_t length)
{
	const unsigned char *bytes = address;
	size_t i, count = 0;

	for (i = 0; i < length; i++)
		count += bytes[i] != 0;
	return count;
}

/* What the kernel says of a byte, not the processor: no signal to handle. */
bool is_readable(const void *address)
{
	int pipe_ends[2];
	ssize_t written;

	CHECK_OK(pipe(pipe_ends));
	written = write(pipe_ends[1], address, 1);
	close(pipe_ends[0]);
	close(pipe_ends[1]);
	return written == 1;
}

bool is_mapped(const void *address)
{
	unsigned char resident;

	return !mincore((void *)((uintptr_t)address & -PAGE), PAGE, &resident);
}

/* Frames */

static void read_entries(const char *path, uint64_t index, uint64_t *entries, size_t count)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = (ssize_t)(count * sizeof(*entries));

	if (fd == -1 || pread(fd, entries, (size_t)length, (off_t)(index * 8)) != length)
		kz_fail(__FILE__, __LINE__, errno, "%s", path);
	close(fd);
}

uint64_t page_entry(const void *address)
{
	uint64_t entry;

	read_entries("/proc/self/pagemap", (uintptr_t)address / PAGE, &entry, 1);
	return entry;
}

bool is_swapped(const void *address)
{
	return page_entry(address) & PAGEMAP_SWAPPED;
}

/* Reads the pages in; whether all were there when the entries were read. */
static bool try_frames(const char *address, size_t count, uint64_t *frames)
{
	size_t i, present = 0;

	for (i = 0; i < count; i++)
		(void)*(const volatile char *)(address + i * PAGE);
	read_entries("/proc/self/pagemap", (uintptr_t)address / PAGE, frames, count);
	for (i = 0; i < count; i++) {
		present += frames[i] & PAGEMAP_PRESENT ? 1 : 0;
		frames[i] &= PAGEMAP_FRAME;
	}
	return present == count;
}

uint64_t *frames_of(const void *address, size_t count)
{
	uint64_t *frames = calloc(count, sizeof(*frames));
	int tries = 0;

	CHECK(frames);
	/* Between the touching and the looking one may be taken out again. */
	while (!try_frames(address, count, frames))
		if (++tries == 100)
			FAIL("no frames at %p", address);
	return frames;
}

uint64_t frame_of(const void *address)
{
	uint64_t *frames = frames_of(address, 1), frame = *frames;

	free(frames);
	return frame;
}

uint64_t frame_flags(uint64_t frame)
{
	uint64_t flags;

	read_entries("/proc/kpageflags", frame, &flags, 1);
	return flags;
}

bool is_huge(const void *address)
{
	return frame_flags(frame_of(address)) & (1ULL << KPF_THP);
}

size_t same_frames(const void *address, size_t count, const uint64_t *frames)
{
	uint64_t *now = frames_of(address, count);
	size_t i, same = 0;

	for (i = 0; i < count; i++)
		same += now[i] == frames[i];
	free(now);
	return same;
}

/* How many pages are in swap. */
static size_t swapped_pages(const char *address, size_t length)
{
	size_t i, swapped = 0;

	for (i = 0; i < length; i += PAGE)
		swapped += is_swapped(address + i);
	return swapped;
}

/*
 * Empties all processors' batches of pages on their way to an LRU list, as what is in one can't be
 * swapped out: so does the kernel before it makes huge pages, none of them here.
 */
static void drain_batches(void)
{
	char *memory = map_aligned(2 * HUGE, HUGE);

	*memory = 1; /* where nothing was ever written to the kernel doesn't look */
	CHECK_OK(madvise(memory, PAGE, MADV_COLLAPSE));
	munmap(memory, 2 * HUGE);
}

size_t swap_out(void *address, size_t length)
{
	size_t swapped = 0;
	int tries;

	for (tries = 0; tries < 20 && swapped < length / PAGE; tries++) {
		drain_batches();
		CHECK_OK(madvise(address, length, MADV_PAGEOUT));
		swapped = swapped_pages(address, length);
	}
	return swapped;
}

struct kz_sharer share_with_child(char *memory, size_t length)
{
	struct kz_sharer sharer;
	int ends[2];
	char byte;

	CHECK_OK(pipe(ends));
	sharer.look = ends[1];
	sharer.child = kz_fork();
	if (!sharer.child) {
		close(ends[1]);
		CHECK_EQ(read(ends[0], &byte, 1), 0);
		CHECK_EQ(differing(memory, length, 1, 0), 0);
		memset(memory, 1, length);
		_exit(0);
	}
	close(ends[0]);
	return sharer;
}

void let_look(struct kz_sharer sharer)
{
	close(sharer.look);
	reap(sharer.child);
}
