// SPDX-License-Identifier: GPL-2.0
/*
 * Views of the module's files: shmem's mappings, but for a gate in front of pages that are still on
 * their way, and a moment in which the memory that a view replaces is looked at once more. Those
 * who wait at the gate may hold the mmap lock, so who is to open it never takes that lock while the
 * gate is closed.
 */
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "kernelzero.h"

/* Shmem's operations, and ours, which are theirs with some replaced. */
static int (*shmem_mmap)(struct file *file, struct vm_area_struct *vma);
static const struct vm_operations_struct *shmem_vm_ops;
static struct vm_operations_struct kz_vm_ops;
static DEFINE_MUTEX(kz_vm_ops_lock);

static bool kz_is_pending(struct kz_file *kf, pgoff_t index)
{
	return index >= kz_file_ready(kf) && index < READ_ONCE(kf->pending);
}

/* Waits until a page is in the file, without the mm's lock if the fault can be retried. */
static vm_fault_t kz_wait_at_gate(struct kz_file *kf, struct vm_fault *vmf)
{
	pgoff_t index = vmf->pgoff;
	struct file *file;
	int killed;

	/* Only if the kernel fills the view at once, which has to wait for the data. */
	if (READ_ONCE(kf->mover) == current)
		return VM_FAULT_SIGBUS;
	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;
	if (!fault_flag_allow_retry_first(vmf->flags)) {
		killed = wait_event_killable(kf->gate, !kz_is_pending(kf, index));
		return killed ? VM_FAULT_SIGBUS : 0;
	}
	/* The VMA may go with the lock: nothing of it, nor of vmf, is used from here on. */
	file = get_file(vmf->vma->vm_file);
	kz_release_fault_lock(vmf);
	wait_event_killable(kf->gate, !kz_is_pending(kf, index));
	fput(file);
	return VM_FAULT_RETRY;
}

static vm_fault_t kz_fault(struct vm_fault *vmf)
{
	struct kz_file *kf = kz_file_of(vmf->vma->vm_file);

	if (kz_is_pending(kf, vmf->pgoff)) {
		vm_fault_t result = kz_wait_at_gate(kf, vmf);

		if (result)
			return result;
	}
	/* After the gate was looked at: what was behind it a moment ago may be ready by now. */
	if (vmf->pgoff >= kz_file_ready(kf))
		return VM_FAULT_SIGBUS;
	return shmem_vm_ops->fault(vmf);
}

static vm_fault_t kz_map_pages(struct vm_fault *vmf, pgoff_t first, pgoff_t last)
{
	struct kz_file *kf = kz_file_of(vmf->vma->vm_file);
	pgoff_t ready = kz_file_ready(kf);

	if (first >= ready)
		return 0;
	return shmem_vm_ops->map_pages(vmf, first, min(last, ready - 1));
}

static int kz_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct kz_file *kf = kz_file_of(file);
	int error = shmem_mmap(file, vma);

	if (error)
		return error;
	/* Shmem doesn't export its vm_ops, but here they are. */
	mutex_lock(&kz_vm_ops_lock);
	if (!shmem_vm_ops) {
		kz_vm_ops = *vma->vm_ops;
		kz_vm_ops.fault = kz_fault;
		kz_vm_ops.map_pages = kz_map_pages;
		shmem_vm_ops = vma->vm_ops;
	}
	mutex_unlock(&kz_vm_ops_lock);
	vma->vm_ops = &kz_vm_ops;
	if (READ_ONCE(kf->mover) == current)
		kz_vm_flags_set(vma, kf->takeover->vm_flags);
	return 0;
}

/*
 * Where a mapping goes is asked for with the mm's lock held, and if it goes to a fixed place this
 * is the last moment before what was there goes. Others go where huge pages can be mapped whole.
 */
static unsigned long kz_get_unmapped_area(struct file *file, unsigned long address,
					  unsigned long length, unsigned long offset,
					  unsigned long flags)
{
	struct kz_file *kf = kz_file_of(file);

	if (READ_ONCE(kf->mover) == current) {
		int error = kf->takeover->before_map(kf->takeover);

		if (error)
			return error;
		/*
		 * Before anyone can see the view. Not in kz_mmap(), which isn't called if the view
		 * becomes a part of the one next to it.
		 */
		if (kf->takeover->closes_gate)
			kz_file_close_gate(kf);
	}
	/* Not shmem's, which takes no other files than its own. */
	return thp_get_unmapped_area(file, address, length, offset, flags);
}

/* Puts a file's operations for views in the place of shmem's. */
void kz_use_view_operations(struct file_operations *fops)
{
	shmem_mmap = fops->mmap;
	fops->mmap = kz_mmap;
	fops->get_unmapped_area = kz_get_unmapped_area;
}
