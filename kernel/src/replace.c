// SPDX-License-Identifier: GPL-2.0
/*
 * A piece's memory leaves its owner's page tables, all of it in one step, and a view of the file
 * comes in its place, still empty, or nothing, or zeros. Until that step everything can be given
 * up; after it the pins are all that holds the data, and the caller has to bring the pages into the
 * file.
 */
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmap_lock.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "move.h"

/*
 * What the view maps. If the kernel makes one mapping of two views that lie side by side, as it
 * does with those of a range's pieces, then with the flags of the first; but only if both map the
 * same struct file. So there is another one for views with other flags.
 */
static struct file *kz_view_file(struct kz_call *call, unsigned long vm_flags)
{
	struct file *file;

	if (call->view && vm_flags == call->view_flags)
		return call->view;
	if (!vm_flags)
		file = get_file(call->file);
	else if (kz_inject_failure(call->steps))
		file = ERR_PTR(-ENOMEM);
	else
		file = dentry_open(&call->file->f_path, O_RDONLY | O_LARGEFILE, current_cred());
	if (IS_ERR(file))
		return file;
	if (call->view)
		fput(call->view);
	call->view = file;
	call->view_flags = vm_flags;
	return file;
}

static int kz_before_view(struct kz_takeover *takeover)
{
	struct kz_piece *piece = container_of(takeover, struct kz_piece, takeover);
	int error;

	if (piece->fate == KZ_GONE)
		return 0;
	error = kz_confirm(piece);
	if (!error)
		piece->fate = KZ_CONFIRMED;
	return error;
}

/* Puts the view in the memory's place, or where there is nothing any more. */
static long kz_map_view(struct kz_call *call, struct kz_piece *piece, struct file *file,
			unsigned long prot)
{
	unsigned long offset = (piece->base << PAGE_SHIFT) + (piece->inner - piece->first);
	unsigned long fixed = piece->fate == KZ_GONE ? MAP_FIXED_NOREPLACE : MAP_FIXED;
	struct kz_file *kf = call->kf;
	unsigned long mapped;

	kf->takeover = &piece->takeover;
	WRITE_ONCE(kf->mover, current);
	mapped = vm_mmap(file, piece->inner, piece->inner_end - piece->inner, prot,
			 MAP_PRIVATE | fixed, offset);
	WRITE_ONCE(kf->mover, NULL);
	if (IS_ERR_VALUE(mapped)) {
		kz_file_open_gate(kf);
		/* The kernel may unmap what was there, and then find no memory for the view. */
		if (piece->fate == KZ_CONFIRMED)
			piece->fate = kz_is_untouched(piece) ? KZ_INTACT : KZ_GONE;
		return (long)mapped;
	}
	WARN_ON_ONCE(piece->fate == KZ_INTACT);
	piece->fate = KZ_GONE;
	return 0;
}

/* Takes away a view that nobody can look at. */
static long kz_unmap_view(const struct kz_piece *piece)
{
	int tries = 0;
	long error;

	do {
		error = vm_munmap(piece->inner, piece->inner_end - piece->inner);
	} while (error == -ENOMEM && ++tries < KZ_MAX_TRIES);
	return error;
}

/*
 * Leaves the mapping as it is, and empty: whoever looks finds zeros. Nobody can look before the lock
 * is let go of, so no view and no gate is needed.
 */
static long kz_discard(struct kz_piece *piece)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	long error;

	if (mmap_write_lock_killable(mm))
		return -EINTR;
	error = kz_confirm(piece);
	if (!error) {
		kz_for_each_mapping(vma, mm, piece->inner, piece->inner_end)
			kz_zap_pages(vma, max(vma->vm_start, piece->inner),
				     min(vma->vm_end, piece->inner_end));
		piece->fate = KZ_GONE;
	}
	mmap_write_unlock(mm);
	return error;
}

/**
 * kz_replace() - takes a piece's pages out of the owner's page tables, if they still are there
 * @call: of the piece
 * @piece: pinned, and with room in the file
 *
 * Memory that is to be given up is replaced as well, by a view without any rights that goes at
 * once: this is how the kernel lets it be looked at in the moment that it goes.
 *
 * Return: 0, or an errno; the piece's fate tells whether the memory is gone. It can be with an
 * error: what remains unmapped, because no memory for the view was found, or what is still mapped.
 */
long kz_replace(struct kz_call *call, struct kz_piece *piece)
{
	bool unmap = call->move->flags & KZ_MOVE_UNMAP;
	unsigned long vm_flags = piece->memory.vm_flags;
	unsigned long prot = (vm_flags & VM_READ ? PROT_READ : 0) |
			     (vm_flags & VM_WRITE ? PROT_WRITE : 0) |
			     (vm_flags & VM_EXEC ? PROT_EXEC : 0);
	struct file *file;
	int tries = 0;
	long error;

	if (kz_inject_failure(call->steps))
		return -ENOMEM;
	if (call->move->flags & KZ_MOVE_DISCARD)
		return kz_discard(piece);
	piece->takeover.before_map = kz_before_view;
	piece->takeover.closes_gate = !unmap;
	piece->takeover.vm_flags = unmap ? 0 : vm_flags & KZ_KEPT_VM_FLAGS;
	file = kz_view_file(call, piece->takeover.vm_flags);
	if (IS_ERR(file))
		return PTR_ERR(file);
	if (unmap) {
		error = kz_map_view(call, piece, file, PROT_NONE);
		if (piece->fate != KZ_GONE)
			return error;
		return error ? 0 : kz_unmap_view(piece);
	}
	do {
		error = kz_map_view(call, piece, file, prot);
	} while (error && piece->fate == KZ_GONE && ++tries < KZ_MAX_TRIES);
	return error && piece->fate == KZ_GONE ? -ENOMEM : error;
}
