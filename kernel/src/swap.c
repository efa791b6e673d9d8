// SPDX-License-Identifier: GPL-2.0
/*
 * Swapped-out pages move as what stands for them: the page table's entry of swap goes into the
 * file, as shmem's own entries are there, and nothing is read in.
 *
 * An entry that moves is its mapping's alone (exclusive), and the page isn't in memory as well when
 * it is looked at. From then on a use of our own is counted, which holds the entry as a pin holds a
 * page: its slot isn't given to anybody else. What others do shows in the page table: who reads or
 * writes the page has it read in there, and fork() makes the entry one that isn't exclusive. So, if
 * the page table has the same entries just before it goes, they hold what the owner last wrote, and
 * nobody else has them; our use becomes the file's.
 *
 * If the page comes to memory meanwhile (read ahead, or read in and out again) it is a small one,
 * as the slot is that of a single page, in no page table, and the next reader of the file finds it
 * in the swap cache by its entry.
 *
 * swapoff looks for entries only in files of a list. Shmem enters a file when it writes one of its
 * pages out, and swapoff takes it off when it counts no entries (info->swapped). So before entries
 * may move, one is counted that isn't there, for as long as the call takes, and a page is written
 * out. What can't be listed is read in, as without all this.
 */
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/threads.h>
#include <linux/writeback.h>

#include "compat.h"
#include "move.h"

/*
 * Where an entry is read in that has no place in its file: a file of shmem, in which each thread has
 * a page of its own, by its number. (So nobody waits for another user's reading from swap.)
 */
static struct file *kz_scratch;

/* What is done with a page's place in the page table, whose lock is held. Return: if it counts. */
typedef bool kz_visit_function(struct kz_piece *piece, unsigned long page, pte_t pte);

/* Which page table has the entries of an address; NULL if there is none, or a huge page. */
static pmd_t *kz_page_table(unsigned long address)
{
	pgd_t *pgd = pgd_offset(current->mm, address);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd, value;

	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, address);
	if (p4d_none(*p4d))
		return NULL;
	pud = pud_offset(p4d, address);
	if (pud_none(*pud) || pud_bad(*pud))
		return NULL;
	pmd = pmd_offset(pud, address);
	value = READ_ONCE(*pmd);
	return pmd_none(value) || !pmd_present(value) || pmd_bad(value) ? NULL : pmd;
}

/* Visits the places of pages that lie in one anonymous VMA. Return: how many count. */
static unsigned long kz_visit_mapping(struct kz_piece *piece, unsigned long start,
				      unsigned long end, kz_visit_function *visit)
{
	unsigned long address, next, counted = 0;

	for (address = start; address < end; address = next) {
		pmd_t *pmd = kz_page_table(address);
		spinlock_t *lock;
		pte_t *pte;

		next = min(end, pmd ? ALIGN(address + 1, KZ_NODE_PAGES << PAGE_SHIFT) :
				      ALIGN(address + 1, PMD_SIZE));
		if (!pmd)
			continue;
		lock = pte_lockptr(current->mm, pmd);
		pte = pte_offset_kernel(pmd, address);
		spin_lock(lock);
		for (; address < next; address += PAGE_SIZE, pte++)
			counted += visit(piece, (address - piece->inner) >> PAGE_SHIFT,
					 READ_ONCE(*pte));
		spin_unlock(lock);
		cond_resched();
	}
	return counted;
}

/*
 * Visits the places of the piece's pages in page tables, as far as there still is anonymous memory.
 * The mmap lock is held. Only page tables of such a VMA stay as long as it is: munmap() takes VMAs
 * away with the lock held for writing, but frees what is below them once it holds it for reading
 * only, and the kernel takes away those of files without it. Return: how many count.
 */
static unsigned long kz_visit_entries(struct kz_piece *piece, kz_visit_function *visit)
{
	struct mm_struct *mm = current->mm;
	unsigned long counted = 0, end = piece->inner_end;
	struct vm_area_struct *vma;

	for (vma = find_vma(mm, piece->inner); vma && vma->vm_start < end;
	     vma = vma->vm_end < end ? find_vma(mm, vma->vm_end) : NULL)
		if (vma_is_anonymous(vma))
			counted += kz_visit_mapping(piece, max(vma->vm_start, piece->inner),
						    min(vma->vm_end, end), visit);
	return counted;
}

/* A page table's entry of swap that is nobody else's, as a file's xarray has it; NULL if not. */
static void *kz_own_entry(pte_t pte)
{
	swp_entry_t entry;

	if (pte_none(pte) || pte_present(pte))
		return NULL;
	entry = pte_to_swp_entry(pte);
	return !non_swap_entry(entry) && pte_swp_exclusive(pte) ? swp_to_radix_entry(entry) : NULL;
}

static bool kz_hold_own_entry(struct kz_piece *piece, unsigned long page, pte_t pte)
{
	void *entry = kz_own_entry(pte);

	if (!entry || !kz_hold_entry(radix_to_swp_entry(entry)))
		return false;
	piece->pages[page] = entry;
	return true;
}

static bool kz_is_entry_unchanged(struct kz_piece *piece, unsigned long page, pte_t pte)
{
	return kz_is_entry(piece, page) && kz_own_entry(pte) == piece->pages[page];
}

/**
 * kz_hold_entries() - finds the entries of a piece that can move, and holds them
 * @call: of the piece
 * @piece: gets them instead of pages
 *
 * Return: 0, -ENOMEM, or -EINTR.
 */
int kz_hold_entries(struct kz_call *call, struct kz_piece *piece)
{
	if (call->reads_in || piece->tries >= KZ_MAX_ENTRY_TRIES || !kz_can_move_entries() ||
	    !get_mm_counter(current->mm, MM_SWAPENTS))
		return 0;
	if (kz_inject_failure(call->steps))
		return -ENOMEM;
	if (mmap_read_lock_killable(current->mm))
		return -EINTR;
	memset(piece->pages, 0, piece->count * sizeof(*piece->pages));
	piece->entries = kz_visit_entries(piece, kz_hold_own_entry);
	mmap_read_unlock(current->mm);
	return 0;
}

/* How many of a piece's entries the page table still has. The mmap lock is held. */
unsigned long kz_count_entries(struct kz_piece *piece)
{
	return piece->entries ? kz_visit_entries(piece, kz_is_entry_unchanged) : 0;
}

/* Lets go of the entries that aren't the file's now. */
void kz_drop_entries(struct kz_piece *piece)
{
	unsigned long i;

	for (i = 0; i < piece->count && piece->entries; i++) {
		if (xa_is_value(piece->pages[i])) {
			kz_drop_entry(radix_to_swp_entry(piece->pages[i]));
			piece->pages[i] = NULL;
		}
		cond_resched();
	}
	piece->entries = 0;
}

/* Writes a page of zeros to swap, and takes it out of the file. */
static void kz_write_out(struct kz_file *kf, pgoff_t index)
{
	struct address_space *mapping = kf->inode->i_mapping;
	struct writeback_control how = {
		.sync_mode = WB_SYNC_NONE,
		.nr_to_write = 1,
		.range_end = LLONG_MAX,
		.for_reclaim = 1,
	};
	struct page *page;

	page = shmem_read_mapping_page_gfp(mapping, index, mapping_gfp_mask(mapping) |
					   __GFP_NORETRY | __GFP_NOWARN);
	if (IS_ERR(page))
		return;
	lock_page(page);
	if (page->mapping != mapping ||
	    mapping->a_ops->writepage(page, &how) == AOP_WRITEPAGE_ACTIVATE)
		unlock_page(page);
	/* With the page still in hand, so that the kernel makes no huge one of it. */
	shmem_truncate_range(kf->inode, (loff_t)index << PAGE_SHIFT, -1);
	put_page(page);
}

/**
 * kz_list_file() - makes swapoff look for entries in the file, until kz_unlist_file()
 * @call: with the file's append lock
 * @index: of a page that the file has room for, and neither it nor any behind it
 *
 * Return: 0, -ENOMEM, or -EAGAIN: it can't be done, and entries aren't to move in this call.
 */
int kz_list_file(struct kz_call *call, pgoff_t index)
{
	struct inode *inode = call->kf->inode;

	if (call->listed)
		return 0;
	if (kz_inject_failure(call->steps))
		return -ENOMEM;
	kz_shmem_add_swapped(inode, 1);
	call->listed = true;
	kz_write_out(call->kf, index);
	/* With entries that are counted nobody takes it off the list. */
	if (!list_empty(&SHMEM_I(inode)->swaplist))
		return 0;
	kz_unlist_file(call);
	call->reads_in = true;
	return -EAGAIN;
}

/* From now on the file is in the list only if it has entries. */
void kz_unlist_file(struct kz_call *call)
{
	if (call->listed)
		kz_shmem_add_swapped(call->kf->inode, -1);
	call->listed = false;
}

/* Stores entries in a file one behind the other, as far as nothing is in the way; how many. */
static unsigned long kz_store_values(struct address_space *mapping, struct page **entries,
				     unsigned long count, pgoff_t index)
{
	XA_STATE(xas, &mapping->i_pages, index);
	unsigned long stored = 0;

	do {
		xas_lock_irq(&xas);
		while (stored < count && !xas_load(&xas)) {
			xas_store(&xas, entries[stored]);
			if (xas_error(&xas))
				break;
			stored++;
			xas_next(&xas);
		}
		xas_unlock_irq(&xas);
	} while (xas_nomem(&xas, GFP_KERNEL | __GFP_NOFAIL));
	return stored;
}

/**
 * kz_store_entries() - makes entries of swap a file's
 * @kf: the file, which is listed and counts them already
 * @entries: @count of them; the uses that are ours become the file's
 * @index: in the file
 *
 * Return: how many of the first ones the file has; what is in the way of the next must get a copy.
 */
unsigned long kz_store_entries(struct kz_file *kf, struct page **entries, unsigned long count,
			       pgoff_t index)
{
	return kz_store_values(kf->inode->i_mapping, entries, min(count, KZ_NODE_PAGES), index);
}

/**
 * kz_copy_entry() - copies a swapped-out page into a file
 * @kf: the file
 * @entry: where its entry is, which is let go of
 * @index: in the file
 *
 * Return: 0, or -EIO if the page can't be read or the one in the file can't be had.
 */
int kz_copy_entry(struct kz_file *kf, struct page **entry, pgoff_t index)
{
	struct inode *inode = file_inode(kz_scratch);
	pgoff_t place = task_pid_nr(current);
	gfp_t gfp = mapping_gfp_mask(inode->i_mapping) | __GFP_NOFAIL;
	struct page *page;
	int tries = 0, error = -EIO;

	kz_shmem_add_swapped(inode, 1);
	WARN_ON_ONCE(!kz_store_values(inode->i_mapping, entry, 1, place));
	*entry = NULL;
	do {
		page = shmem_read_mapping_page_gfp(inode->i_mapping, place, gfp);
		if (IS_ERR(page))
			msleep(20);
	} while (IS_ERR(page) && PTR_ERR(page) == -ENOMEM && ++tries < 50);
	if (IS_ERR(page)) {
		pr_err_ratelimited("kernelzero: a page can't be read from swap: %ld\n",
				   PTR_ERR(page));
	} else {
		error = kz_copy(kf, page, index);
		put_page(page);
	}
	shmem_truncate_range(inode, (loff_t)place << PAGE_SHIFT,
			     ((loff_t)(place + 1) << PAGE_SHIFT) - 1);
	return error;
}

int kz_swap_init(void)
{
	kz_scratch = shmem_file_setup("kernelzero scratch", 0, 0);
	if (IS_ERR(kz_scratch))
		return PTR_ERR(kz_scratch);
	/* By hand, as it isn't to be promised any memory. */
	i_size_write(file_inode(kz_scratch), (loff_t)PID_MAX_LIMIT << PAGE_SHIFT);
	return 0;
}

void kz_swap_exit(void)
{
	i_size_write(file_inode(kz_scratch), 0);
	fput(kz_scratch);
}
