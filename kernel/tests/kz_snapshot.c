// SPDX-License-Identifier: GPL-2.0
/* Whether a call that failed has changed anything. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kz_test.h"

/* Of /proc/self/pagemap: frame or swap slot, and whether it is one; not what is noted about it. */
#define ENTRY_BITS (((1ULL << 55) - 1) | (7ULL << 61))

struct kz_snapshot {
	const char *address;
	size_t length;
	char *maps;
	uint64_t *entries;
	uint64_t bytes;		/* hash of the pages that are present */
	int fd;
	long long size, blocks;
	long files, pages;
	int descriptors;
};

/* The lines of /proc/self/maps that have to do with the memory. */
static char *read_maps(uintptr_t start, uintptr_t end)
{
	FILE *file = fopen("/proc/self/maps", "re");
	size_t length;
	char *text = NULL, line[512];
	FILE *out = open_memstream(&text, &length);

	CHECK(file && out);
	while (fgets(line, sizeof(line), file)) {
		uintptr_t from, to;

		if (sscanf(line, "%lx-%lx", &from, &to) == 2 && from < end && to > start)
			fputs(line, out);
	}
	fclose(file);
	fclose(out);
	return text;
}

static uint64_t hash_page(const void *page, uint64_t hash)
{
	const uint64_t *words = page;
	size_t i;

	for (i = 0; i < PAGE / sizeof(*words); i++)
		hash = (hash ^ words[i]) * 0x100000001b3ULL;
	return hash;
}

static int count_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int count = 0;

	CHECK(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

struct kz_snapshot *take_snapshot(const void *address, size_t length, int fd)
{
	struct kz_snapshot *snapshot = calloc(1, sizeof(*snapshot));
	uintptr_t start = (uintptr_t)address & -PAGE;
	size_t count = ((uintptr_t)address + length - start + PAGE - 1) / PAGE, i;
	struct stat status;

	/* Opens the device, if it isn't yet, before descriptors are counted. */
	kz_device();
	CHECK(snapshot);
	snapshot->address = address;
	snapshot->length = length;
	snapshot->maps = read_maps(start, start + count * PAGE);
	snapshot->entries = calloc(count, sizeof(*snapshot->entries));
	CHECK(snapshot->entries);
	for (i = 0; i < count; i++) {
		snapshot->entries[i] = page_entry((void *)(start + i * PAGE)) & ENTRY_BITS;
		if (snapshot->entries[i] >> 63 && is_readable((void *)(start + i * PAGE)))
			snapshot->bytes = hash_page((void *)(start + i * PAGE), snapshot->bytes);
	}
	snapshot->fd = fd;
	if (fd != -1) {
		CHECK_OK(fstat(fd, &status));
		snapshot->size = status.st_size;
		snapshot->blocks = status.st_blocks;
	}
	snapshot->files = kz_parameter("live_files");
	snapshot->pages = kz_parameter("live_pages");
	snapshot->descriptors = count_descriptors();
	return snapshot;
}

static void free_snapshot(struct kz_snapshot *snapshot)
{
	free(snapshot->maps);
	free(snapshot->entries);
	free(snapshot);
}

/* What differs, or NULL. */
static const char *difference(const struct kz_snapshot *before, const struct kz_snapshot *now)
{
	uintptr_t start = (uintptr_t)before->address & -PAGE;
	size_t count = ((uintptr_t)before->address + before->length - start + PAGE - 1) / PAGE;

	if (strcmp(before->maps, now->maps))
		return "mappings";
	if (memcmp(before->entries, now->entries, count * sizeof(*now->entries)))
		return "page tables";
	if (before->bytes != now->bytes)
		return "bytes";
	if (before->size != now->size || before->blocks != now->blocks)
		return "the file's size";
	if (before->files != now->files || before->pages != now->pages)
		return "the module's files or pages";
	return before->descriptors != now->descriptors ? "descriptors" : NULL;
}

void check_unchanged(const char *file, int line, struct kz_snapshot *before)
{
	struct kz_snapshot *now = take_snapshot(before->address, before->length, before->fd);
	const char *changed = difference(before, now);

	if (changed)
		kz_fail(file, line, 0, "changed: %s\nbefore:\n%safter:\n%s", changed, before->maps,
			now->maps);
	free_snapshot(now);
	free_snapshot(before);
}
