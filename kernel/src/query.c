// SPDX-License-Identifier: GPL-2.0
/*
 * What backs a range of addresses, and whether its owner has changed it since. Nothing is changed, but
 * pages are read in to count them; an answer is of one moment for each extent.
 */
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "kernelzero.h"

#define KZ_QUERY_BATCH 256

static u64 kz_offset_of(struct vm_area_struct *vma, unsigned long address)
{
	return ((u64)vma->vm_pgoff << PAGE_SHIFT) + (address - vma->vm_start);
}

/*
 * Counts the pages of a private mapping that are the owner's own copies by now. Only a mapping that
 * ever had one has an anon_vma, so the others aren't looked at; looking reads pages in.
 */
static long kz_count_changed(struct vm_area_struct *vma, unsigned long start, unsigned long end,
			     struct page **pages)
{
	long changed = 0, got, i;

	if (!vma->anon_vma)
		return 0;
	while (start < end) {
		got = kz_get_user_pages(start, min_t(long, (end - start) >> PAGE_SHIFT,
						     KZ_QUERY_BATCH), FOLL_FORCE, pages);
		if (got <= 0)
			return got ? got : -EFAULT;
		for (i = 0; i < got; i++) {
			changed += PageAnon(pages[i]);
			put_page(pages[i]);
		}
		start += got << PAGE_SHIFT;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return changed;
}

/* Return: 1 if a file of the module backs the extent's start, 0 if not, or an errno. */
static long kz_query_extent(struct kz_extent *extent, struct page **pages)
{
	struct mm_struct *mm = current->mm;
	unsigned long address = extent->addr & PAGE_MASK;
	unsigned long end = PAGE_ALIGN(extent->addr + extent->length);
	struct vm_area_struct *vma;
	struct inode *inode = NULL;
	long changed;
	u64 next = 0;

	extent->changed_pages = 0;
	while (address < end) {
		unsigned long stop;

		vma = find_vma(mm, address);
		if (!vma || vma->vm_start > address || !vma->vm_file || !kz_file_of(vma->vm_file))
			break;
		if (!inode) {
			inode = file_inode(vma->vm_file);
			extent->inode = inode->i_ino;
			extent->offset = kz_offset_of(vma, address) + offset_in_page(extent->addr);
		} else if (file_inode(vma->vm_file) != inode ||
			   kz_offset_of(vma, address) != next) {
			break;
		}
		stop = min(end, vma->vm_end);
		changed = kz_count_changed(vma, address, stop, pages);
		if (changed < 0)
			return changed;
		extent->changed_pages += changed;
		next = kz_offset_of(vma, address) + (stop - address);
		address = stop;
	}
	if (!inode)
		return 0;
	if (address < end)
		extent->length = address - extent->addr;
	return 1;
}

/**
 * kz_query() - KZ_QUERY
 * @query: what the caller asks for, checked for nothing yet
 *
 * Return: 0, or an errno; done says how many extents were answered in both cases.
 */
long kz_query(struct kz_query *query)
{
	struct kz_extent __user *extents = u64_to_user_ptr(query->extents);
	struct mm_struct *mm = current->mm;
	struct page **pages;
	long result = 0;
	u32 i;

	if (query->flags)
		return -EINVAL;
	if (query->nr_extents > READ_ONCE(kz_max_ranges))
		return -E2BIG;
	pages = kmalloc_array(KZ_QUERY_BATCH, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	for (i = 0; i < query->nr_extents; i++) {
		struct kz_extent extent;
		u64 end;

		result = -EFAULT;
		if (copy_from_user(&extent, extents + i, sizeof(extent)))
			break;
		result = -EINVAL;
		if (!extent.length)
			break;
		result = -EOVERFLOW;
		if (check_add_overflow(extent.addr, extent.length, &end))
			break;
		result = 0;
		if (end > TASK_SIZE)
			break;
		result = -EINTR;
		if (mmap_read_lock_killable(mm))
			break;
		result = kz_query_extent(&extent, pages);
		mmap_read_unlock(mm);
		if (result <= 0)
			break;
		result = -EFAULT;
		if (copy_to_user(extents + i, &extent, sizeof(extent)))
			break;
		result = 0;
		query->done++;
	}
	kfree(pages);
	return result;
}
