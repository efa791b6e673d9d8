// SPDX-License-Identifier: GPL-2.0
/*
 * One folio of anonymous memory becomes a file's, or its bytes do. Nothing here may fail for lack
 * of memory: the owner's page tables don't hold the pages any more, so there is no way back.
 */
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/ksm.h>
#include <linux/page_ref.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>
#include <linux/xarray.h>

#include "compat.h"
#include "kernelzero.h"

/* References that the mover's own pins hold, one pin for each page of the folio. */
static int kz_pin_references(struct folio *folio)
{
	return folio_test_large(folio) ? folio_nr_pages(folio) : GUP_PIN_COUNTING_BIAS;
}

/* Whether a locked folio is nobody's any more but that of those who hold references. */
static bool kz_is_orphan(struct folio *folio)
{
	if (!folio_test_anon(folio) || folio_test_ksm(folio) || folio_test_hugetlb(folio) ||
	    !folio_test_swapbacked(folio) || !folio_test_uptodate(folio) ||
	    folio_test_mlocked(folio) || folio_mapped(folio))
		return false;
	folio_wait_writeback(folio);
	/* A slot in swap may be in another process's page table. */
	if (folio_test_swapcache(folio) &&
	    !(kz_symbols.free_swap && kz_symbols.free_swap(folio)))
		return false;
	return true;
}

/*
 * Stores the folio, if nobody but the mover holds a reference: another's might be a pipe's or a
 * device's that writes to the page, when the file must not change any more. With its references
 * frozen nobody can find the folio while it changes sides.
 *
 * Return: 0, -EEXIST if there is a page already, -EBUSY if there are other references.
 */
static int kz_store(struct kz_file *kf, struct folio *folio, pgoff_t index)
{
	struct address_space *mapping = kf->inode->i_mapping;
	long pages = folio_nr_pages(folio), i;
	int held = kz_pin_references(folio);
	XA_STATE_ORDER(xas, &mapping->i_pages, index, folio_order(folio));

	do {
		xas_lock_irq(&xas);
		if (xas_find_conflict(&xas)) {
			xas_set_err(&xas, -EEXIST);
			goto unlock;
		}
		/* In the loop, as the first try may only find out which nodes to allocate. */
		if (!folio_ref_freeze(folio, held)) {
			xas_set_err(&xas, -EBUSY);
			goto unlock;
		}
		xas_store(&xas, folio);
		if (xas_error(&xas)) {
			folio_ref_unfreeze(folio, held);
			goto unlock;
		}
		for (i = 0; i < pages; i++)
			ClearPageAnonExclusive(folio_page(folio, i));
		folio->mapping = mapping;
		folio->index = index;
		mapping->nrpages += pages;
		/* The memory cgroup's charge stays as it is; what it counts it as doesn't. */
		kz_stat_mod_folio(folio, NR_FILE_PAGES, pages);
		kz_stat_mod_folio(folio, NR_SHMEM, pages);
		if (folio_test_pmd_mappable(folio))
			kz_stat_mod_folio(folio, NR_SHMEM_THPS, pages);
		folio_ref_unfreeze(folio, held + pages);
unlock:
		xas_unlock_irq(&xas);
	} while (xas_nomem(&xas, GFP_KERNEL | __GFP_NOFAIL));
	return xas_error(&xas);
}

/**
 * kz_steal() - makes a folio a file's
 * @kf: the file
 * @folio: pinned once for each of its pages by the caller, and in no page table any more
 * @index: in the file, naturally aligned
 * @drained: whether the batches of the LRU lists were drained during this call already
 *
 * Return: whether the file has it. If not, it is as it was, and must be copied.
 */
bool kz_steal(struct kz_file *kf, struct folio *folio, pgoff_t index, bool *drained)
{
	int error;

	if (READ_ONCE(kz_force_copy))
		return false;
retry:
	folio_lock(folio);
	error = kz_is_orphan(folio) ? kz_store(kf, folio, index) : -EINVAL;
	if (!error)
		folio_mark_dirty(folio); /* reclaim would drop a clean page */
	folio_unlock(folio);
	if (!error) {
		kz_shmem_add_pages(kf->inode, folio_nr_pages(folio));
		return true;
	}
	/* The reference too many may be that of a batch on its way to an LRU list. */
	if (error == -EBUSY && !*drained && kz_symbols.drain) {
		*drained = true;
		kz_symbols.drain();
		goto retry;
	}
	return false;
}

/**
 * kz_copy() - copies a page into a new one of a file
 * @kf: the file
 * @from: the page
 * @index: in the file
 *
 * If there is a page already, for instance one of a huge page that shmem itself made when someone
 * read the hole before it, then it is this one that gets the bytes.
 *
 * Return: 0, or -EIO if the page in the file can't be had at all.
 */
int kz_copy(struct kz_file *kf, struct page *from, pgoff_t index)
{
	struct address_space *mapping = kf->inode->i_mapping;
	gfp_t gfp = mapping_gfp_mask(mapping) | __GFP_NOFAIL;
	struct page *to;
	int tries = 0;

	do {
		to = shmem_read_mapping_page_gfp(mapping, index, gfp);
		if (IS_ERR(to))
			msleep(20);
	} while (IS_ERR(to) && PTR_ERR(to) == -ENOMEM && ++tries < 50);
	if (IS_ERR(to)) {
		pr_err_ratelimited("kernelzero: page %lu of a file is lost: %ld\n", index,
				   PTR_ERR(to));
		return -EIO;
	}
	lock_page(to);
	copy_highpage(to, from);
	flush_dcache_page(to);
	set_page_dirty(to);
	unlock_page(to);
	kz_file_guard(kf, to, index);
	return 0;
}

/* Splits the huge page that a page is of, if it can be; the caller holds one plain reference. */
void kz_split(struct page *page)
{
	if (!kz_symbols.split || !PageTransCompound(page))
		return;
	lock_page(page);
	kz_symbol_split(page); /* the lock stays on this page */
	unlock_page(page);
}
