// SPDX-License-Identifier: GPL-2.0
/* Calls of which is known what they must do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz_model.h"

/* A range of a region's addresses. */
struct part {
	struct region *region;
	size_t first, last;	/* pages, whole or not */
	size_t start, end;	/* bytes from the region's start */
};

static struct part random_part(struct model *model, struct region *region, bool edges)
{
	size_t first = below(&model->random, region->pages);
	size_t count = 1 + below(&model->random, region->pages - first);
	struct part part = { .region = region };

	if (one_in(&model->random, 3))
		count = region->pages - first;
	part.start = first * PAGE;
	part.end = (first + count) * PAGE;
	if (edges) {
		part.start += below(&model->random, PAGE);
		part.end -= below(&model->random, part.end - part.start < PAGE ?
				  part.end - part.start : PAGE);
	}
	part.first = part.start / PAGE;
	part.last = (part.end - 1) / PAGE;
	return part;
}

/*
 * The errno that the ABI promises for a range; 0 if it can move. ENOMEM if something of it is gone:
 * then another region may be there, and no errno is sure.
 */
static int refusal_of(const struct part *part)
{
	const struct page *first = part->region->page + part->first, *page;
	int refusal = 0;

	for (page = first; page <= part->region->page + part->last; page++) {
		if (page->state == GONE)
			return ENOMEM;
		if (part->region->kind == REFUSED || page->state == VIEW ||
		    page->writable != first->writable)
			refusal = EOPNOTSUPP;
	}
	return refusal;
}

static void publish(struct model *model, const struct file *file, const struct part *part,
		    uint64_t offset)
{
	struct published bytes = { .inode = file->inode };
	size_t at;

	for (at = part->start; at < part->end; at += bytes.length) {
		bytes.place = at % PAGE;
		bytes.length = part->end - at < PAGE - bytes.place ? part->end - at :
			       PAGE - bytes.place;
		bytes.offset = (off_t)(offset + at - part->start);
		bytes.id = part->region->page[at / PAGE].id;
		model->published[below(&model->random, PUBLISHED)] = bytes;
	}
}

/* The file has the range's bytes, and zeros beside them. */
static void check_in_file(const struct file *file, const struct part *part, uint64_t offset)
{
	size_t before = part->start % PAGE, at;
	size_t length = (part->last - part->first + 1) * PAGE;
	char *map = map_file(file->fd, (off_t)(offset - before), length);

	CHECK_EQ(offset % PAGE, before);
	CHECK_EQ(not_zero(map, before), 0);
	for (at = part->start; at < part->end;) {
		size_t next = (at / PAGE + 1) * PAGE < part->end ? (at / PAGE + 1) * PAGE : part->end;

		check_bytes(map + before + at - part->start, next - at,
			    part->region->page[at / PAGE].id, at % PAGE);
		at = next;
	}
	CHECK_EQ(not_zero(map + before + part->end - part->start,
			  length - before - (part->end - part->start)), 0);
	munmap(map, length);
}

/*
 * Whether a page that counts as moved has no view: there was no memory for one, and another
 * thread's memory may be there by now.
 */
static bool has_no_view(const struct file *file, const char *page, uint64_t offset)
{
	struct kz_extent extent = { .addr = (uintptr_t)page, .length = PAGE };

	return CHECK_OK(kz_query(&extent, 1)) != 1 || extent.inode != file->inode ||
	       extent.offset != offset;
}

/* What has become of the range's memory. If not @sure, views may be missing. */
static void note_moved(const struct file *file, const struct part *part, uint64_t offset, bool gone,
		       bool sure)
{
	size_t i;

	for (i = part->first; i <= part->last; i++) {
		struct page *page = part->region->page + i;

		if (i * PAGE < part->start || (i + 1) * PAGE > part->end)
			continue;
		page->state = gone || (!sure && has_no_view(file, part->region->start + i * PAGE,
							    offset - part->start + i * PAGE)) ?
			      GONE : VIEW;
		page->file_id = page->id;
		page->inode = file->inode;
		page->offset = (off_t)(offset - part->start + i * PAGE);
		page->changed = false;
	}
}

/* Of the whole pages nothing is left but zeros. */
static void note_discarded(const struct part *part)
{
	size_t i;

	for (i = part->first; i <= part->last; i++)
		if (i * PAGE >= part->start && (i + 1) * PAGE <= part->end)
			part->region->page[i].id = 0;
}

/*
 * Of different regions, so that they don't overlap; mostly of such as can move. What is gone may be
 * another thread's memory by now, so it is left alone. Return: how many.
 */
static size_t choose_parts(struct model *model, struct part *parts, unsigned int flags)
{
	size_t nr = 1 + below(&model->random, MAX_RANGES), i;
	size_t first = below(&model->random, REGIONS);

	for (i = 0; i < nr; i++) {
		int tries = 20, may_be_refused = one_in(&model->random, 8), refusal;

		do {
			parts[i] = random_part(model, model->regions + (first + i) % REGIONS,
					       flags & KZ_MOVE_EDGES);
			refusal = refusal_of(parts + i);
		} while (refusal && (refusal == ENOMEM || !may_be_refused) && --tries);
		if (refusal == ENOMEM)
			return i;
	}
	return nr;
}


/* What of a part is done if only its first bytes are. */
static void shorten(struct part *part, size_t bytes)
{
	CHECK(bytes < part->end - part->start);
	part->end = part->start + bytes;
	part->last = (part->end - 1) / PAGE;
}

/* The account of what is done adds up. */
static void check_account(const struct kz_move *account, const struct part *parts, size_t done)
{
	uint64_t pages = 0, i;

	for (i = 0; i < done; i++)
		pages += parts[i].last - parts[i].first + 1;
	CHECK_EQ(account->moved_pages + account->copied_pages, pages);
	CHECK(account->huge_pages <= account->moved_pages + account->copied_pages);
	CHECK_EQ(account->file_size % PAGE, 0);
	fuzz_counts->moved += account->moved_pages;
	fuzz_counts->huge += account->huge_pages;
	fuzz_counts->copied += account->copied_pages;
}

static void __attribute__((noreturn))
fail_as_unexpected(const struct part *parts, size_t nr, int error, int refused)
{
	size_t i;

	for (i = 0; i < nr; i++)
		dprintf(STDOUT_FILENO, "%p: %zx to %zx, kind %d, state %d, writable %d: %s\n",
			(void *)parts[i].region->start, parts[i].start, parts[i].end,
			parts[i].region->kind, parts[i].region->page[parts[i].first].state,
			parts[i].region->page[parts[i].first].writable,
			strerror(refusal_of(parts + i)));
	print_file("/proc/self/maps");
	FAIL("KZ_MOVE: %s instead of %s", strerror(error), strerror(refused));
}

void move_ranges(struct model *model)
{
	static const unsigned int all_flags[] = { 0, 0, KZ_MOVE_UNMAP, KZ_MOVE_EDGES,
						  KZ_MOVE_EDGES | KZ_MOVE_UNMAP, KZ_MOVE_DISCARD,
						  KZ_MOVE_EDGES | KZ_MOVE_DISCARD };
	unsigned int flags = all_flags[below(&model->random, ARRAY_SIZE(all_flags))];
	struct file *file = model->files + below(&model->random, FILES);
	int result, error, refused = 0;
	struct kz_range ranges[MAX_RANGES];
	struct part parts[MAX_RANGES];
	struct kz_move account;
	size_t nr = choose_parts(model, parts, flags), done, i;

	for (i = 0; i < nr; i++) {
		ranges[i] = range_of(parts[i].region->start + parts[i].start,
				     parts[i].end - parts[i].start);
		refused = refused ? refused : refusal_of(parts + i);
	}
	if (one_in(&model->random, 4))
		fail_allocation(1 + (unsigned int)below(&model->random, 60));
	result = kz_move(file->fd, flags, ranges, nr, &account);
	error = result ? errno : 0;
	fail_allocation(0);
	/* Some step may have been told to fail, and a user's files may be limited. */
	if (error != refused && (refused || error != EDQUOT) && error != ENOMEM)
		fail_as_unexpected(parts, nr, error, refused);
	done = account.done + (account.partial_bytes != 0);
	CHECK(!refused || !done);
	CHECK(error ? done <= nr : account.done == nr && !account.partial_bytes);
	for (i = 0; i < done; i++) {
		struct part part = parts[i];

		if (i == account.done)
			shorten(parts + i, account.partial_bytes);
		check_in_file(file, parts + i, ranges[i].offset);
		publish(model, file, parts + i, ranges[i].offset);
		if (flags & KZ_MOVE_DISCARD)
			note_discarded(parts + i);
		else
			note_moved(file, parts + i, ranges[i].offset, flags & KZ_MOVE_UNMAP,
				   !error || i + 1 < done);
		/* What has moved and what hasn't is there. */
		check_region(part.region, part.first, part.last - part.first + 1);
	}
	for (; i < nr; i++)
		check_region(parts[i].region, parts[i].first, parts[i].last - parts[i].first + 1);
	check_account(&account, parts, done);
	fuzz_counts->calls++;
	fuzz_counts->refused += refused != 0;
	fuzz_counts->failed += error && !refused;
}

void query_region(struct model *model)
{
	struct region *region = model->regions + below(&model->random, REGIONS);
	size_t first = below(&model->random, region->pages), i;
	size_t count = 1 + below(&model->random, region->pages - first), length = 0, changed = 0;
	struct kz_extent extent = { .addr = (uintptr_t)(region->start + first * PAGE),
				    .length = count * PAGE };
	const struct page *page = region->page + first;
	int done = (int)CHECK_OK(kz_query(&extent, 1));

	fuzz_counts->queries++;
	/* Where something is gone another thread's view may be. */
	if (page->state == GONE)
		return;
	CHECK_EQ(done, page->state == VIEW);
	if (!done)
		return;
	for (i = 0; i < count && page[i].state == VIEW && page[i].inode == page->inode &&
	     page[i].offset == page->offset + (off_t)(i * PAGE); i++) {
		length += PAGE;
		changed += page[i].changed;
	}
	CHECK_EQ(extent.inode, page->inode);
	CHECK_EQ(extent.offset, page->offset);
	CHECK_EQ(extent.length, length);
	CHECK_EQ(extent.changed_pages, changed);
}

/* Bytes that were in a file once are there still. */
void check_published(struct model *model)
{
	char content[PAGE];
	int tries;

	for (tries = 0; tries < 32; tries++) {
		const struct published *bytes = model->published +
						below(&model->random, PUBLISHED);
		size_t i;

		for (i = 0; i < FILES; i++) {
			if (!bytes->length || model->files[i].inode != bytes->inode)
				continue;
			CHECK_EQ(pread(model->files[i].fd, content, bytes->length, bytes->offset),
				 bytes->length);
			check_bytes(content, bytes->length, bytes->id, bytes->place);
		}
	}
}
