// SPDX-License-Identifier: GPL-2.0
/*
 * Brings a piece's pages into the file, where faults in them wait at the gate. They are in no page
 * table any more, so nothing here may fail for lack of memory.
 *
 * The kernel must not make a huge page of what is half done, as it would map it whole, zeros among
 * it (see kz_file_guard()): so wherever the file could have one, a page comes first that somebody
 * holds, and then entries of swap, which nobody does.
 */
#include <linux/mm.h>

#include "compat.h"
#include "move.h"

/**
 * struct kz_tally - what has been done of a piece
 * @stolen, @swapped: pages that moved: as pages, of which @huge as huge ones, or as entries
 * @copied: pages
 * @error: -EIO if one got lost in copying
 */
struct kz_tally {
	unsigned long stolen, huge, swapped, copied;
	int error;
};

static void kz_copied(struct kz_tally *tally, enum kz_counter why, int error)
{
	kz_count(why, 1);
	tally->copied++;
	tally->error = error ?: tally->error;
}

/*
 * How many pages from one on, of those before @end, may go to @index in the file together: those of
 * a huge page, 0 if it isn't whole, or small ones that share a node of the file's xarray.
 */
static unsigned long kz_run_length(const struct kz_piece *piece, unsigned long page,
				   unsigned long end, pgoff_t index)
{
	unsigned long most = min(end - page, KZ_NODE_PAGES - index % KZ_NODE_PAGES), run = 0;

	if (kz_has_large(piece, page))
		return kz_is_whole(piece, page) ? folio_nr_pages(page_folio(piece->pages[page])) : 0;
	while (run < most && !kz_is_entry(piece, page + run) && !kz_has_large(piece, page + run))
		run++;
	return run;
}

/* Those of some pages that are in memory. Return: whether any that was stolen is held still. */
static bool kz_commit_pages(struct kz_call *call, struct kz_piece *piece, unsigned long page,
			    unsigned long end, pgoff_t base, struct kz_tally *tally)
{
	bool held = false;

	while (page < end) {
		unsigned long run, stolen = 0;
		bool large;

		if (kz_is_entry(piece, page)) {
			page++;
			continue;
		}
		run = kz_run_length(piece, page, end, base + page);
		large = kz_has_large(piece, page);
		if (run)
			stolen = kz_steal(call->kf, piece->pages + page, run, base + page, &held,
					  &call->theft);
		tally->stolen += stolen;
		tally->huge += large ? stolen : 0;
		page += stolen;
		if (!stolen) {
			kz_copied(tally, run ? call->theft.why : KZ_COPIED_CUT,
				  kz_copy(call->kf, piece->pages[page], base + page));
			page++;
		}
		cond_resched();
	}
	return held;
}

/* Those that are entries of swap; @held: there is a page that keeps huge ones away. */
static void kz_commit_entries(struct kz_call *call, struct kz_piece *piece, unsigned long page,
			      unsigned long end, pgoff_t base, bool held, struct kz_tally *tally)
{
	bool force_copy = READ_ONCE(kz_force_copy);

	while (page < end) {
		unsigned long run = 0, stored = 0, i;

		while (page + run < end && kz_is_entry(piece, page + run))
			run++;
		if (!run) {
			page++;
			continue;
		}
		held = held || kz_file_has_guard(call->kf, base + page);
		if (held && !force_copy)
			stored = kz_store_entries(call->kf, piece->pages + page, run, base + page);
		for (i = 0; i < stored; i++)
			piece->pages[page + i] = NULL;
		tally->swapped += stored;
		page += stored;
		if (!stored) {
			kz_copied(tally, force_copy ? KZ_COPIED_FORCED :
				  held ? KZ_COPIED_OCCUPIED : KZ_COPIED_SWAPPED,
				  kz_copy_entry(call->kf, piece->pages + page, base + page));
			page++;
		}
		cond_resched();
	}
}

/**
 * kz_commit() - brings a piece into the file
 * @call: of the piece
 * @piece: replaced, with room in the file
 *
 * Return: 0, or -EIO if a page got lost in copying.
 */
int kz_commit(struct kz_call *call, struct kz_piece *piece)
{
	pgoff_t base = piece->base + ((piece->inner - piece->first) >> PAGE_SHIFT);
	struct inode *inode = call->kf->inode;
	struct kz_tally tally = {};
	unsigned long page, end, i;

	/* Before they are there: shmem takes them off as they are read in. */
	kz_shmem_add_swapped(inode, piece->entries);
	for (page = 0; page < piece->count; page = end) {
		bool held;

		end = min(piece->count, ALIGN(base + page + 1, HPAGE_PMD_NR) - base);
		held = kz_commit_pages(call, piece, page, end, base, &tally);
		if (piece->entries)
			kz_commit_entries(call, piece, page, end, base, held, &tally);
	}
	kz_shmem_add_swapped(inode, (long)tally.swapped - (long)piece->entries);
	kz_shmem_add_pages(inode, tally.stolen);
	for (i = 0; i < ARRAY_SIZE(piece->edges); i++) {
		struct kz_edge *edge = &piece->edges[i];

		if (edge->copy)
			kz_copied(&tally, KZ_COPIED_EDGE,
				  kz_copy(call->kf, edge->copy, piece->base + edge->page));
	}
	/* What copy-on-write copied doesn't count as moved, though the copy was. */
	piece->broken = min(piece->broken, tally.stolen);
	kz_count(KZ_PIECES, 1);
	kz_count(KZ_MOVED, tally.stolen + tally.swapped - piece->broken);
	kz_count(KZ_SWAPPED, tally.swapped);
	kz_count(KZ_COPIED_SHARED, piece->broken);
	call->move->moved_pages += tally.stolen + tally.swapped - piece->broken;
	call->move->copied_pages += tally.copied + piece->broken;
	call->move->huge_pages += tally.huge;
	return tally.error;
}
