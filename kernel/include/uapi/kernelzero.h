/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * KernelZero: moves a process's anonymous memory into a file without copying it.
 *
 * The interface of /dev/kernelzero; docs/formats/kernelzero_abi.md tells what each call promises
 * and what each errno means. Every struct begins with its size in bytes as the caller knows it:
 * fields that the module doesn't know must be zero (E2BIG), fields that the caller doesn't know
 * count as zero. Unknown flags are EINVAL.
 */
#ifndef _UAPI_KERNELZERO_H
#define _UAPI_KERNELZERO_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define KZ_DEVICE "/dev/kernelzero"
#define KZ_ABI_VERSION 2

/* What this module on this kernel can do. */
#define KZ_CAP_HUGE		(1 << 0)	/* huge pages move whole */
#define KZ_CAP_SPLIT_HUGE	(1 << 1)	/* huge pages that a range cuts are split */
#define KZ_CAP_SWAP_CACHE	(1 << 2)	/* pages that keep a copy in swap move */
#define KZ_CAP_DIRECT_SWAP	(1 << 3)	/* swapped-out pages move without being read in */

struct kz_version {
	__u32 size;
	__u32 abi;		/* out: KZ_ABI_VERSION */
	__u64 capabilities;	/* out: KZ_CAP_* */
	__u64 max_ranges;	/* out: of one call */
	__u64 max_bytes;	/* out: that a user's files may hold; 0: no limit */
};

/* A new, empty file. It can be read and mapped, and never be written to. */
struct kz_create {
	__u32 size;
	__u32 flags;		/* in: 0 */
	__s32 fd;		/* out: O_RDONLY | O_CLOEXEC */
	__u32 reserved;
};

/* A range of the caller's addresses. */
struct kz_range {
	__u64 addr;
	__u64 length;		/* bytes, not 0 */
	__u64 offset;		/* out: where in the file the byte at addr is */
	__u64 reserved;
};

#define KZ_MOVE_UNMAP	(1 << 0)	/* give the pages up; else a private view of them stays */
#define KZ_MOVE_EDGES	(1 << 1)	/* ranges needn't be whole pages: see below */
#define KZ_MOVE_DISCARD	(1 << 2)	/* leave zeros, as MADV_DONTNEED; not with KZ_MOVE_UNMAP */

/*
 * Appends ranges to the file. Ranges are whole pages, unless KZ_MOVE_EDGES: then the bytes of a
 * range that share their page with others are copied into a page of zeros, so that no byte outside
 * the ranges comes into the file; the copied originals stay where they are.
 *
 * Ranges are done in order, large ones in pieces. On an error `done` of them have moved for good,
 * and of the next one its first `partial_bytes`; the others are untouched. An error in what was
 * asked for is found before anything moves: then both are 0.
 */
struct kz_move {
	__u32 size;
	__u32 flags;		/* in: KZ_MOVE_* */
	__s32 fd;		/* in: of a file made by KZ_CREATE */
	__u32 nr_ranges;	/* in */
	__u64 ranges;		/* in: pointer to struct kz_range[nr_ranges] */
	__u64 done;		/* out: ranges */
	__u64 file_size;	/* out: bytes */
	__u64 moved_pages;	/* out: of 4 KiB; the page itself is in the file now */
	__u64 huge_pages;	/* out: how many of them (of 4 KiB) as part of a huge page */
	__u64 copied_pages;	/* out: of 4 KiB; edges among them */
	__u64 partial_bytes;	/* out: of the range after those that are done; its offset holds */
};

/* What backs a range of the caller's addresses. */
struct kz_extent {
	__u64 addr;		/* in */
	__u64 length;		/* in; out: as far as one file backs it, in order */
	__u64 inode;		/* out: as fstat tells of the file's descriptor */
	__u64 offset;		/* out: of addr in the file */
	__u64 changed_pages;	/* out: that the owner has changed for itself since */
};

/* Stops at the first extent that no file of the module backs: `done` are answered. */
struct kz_query {
	__u32 size;
	__u32 flags;		/* in: 0 */
	__u32 nr_extents;	/* in */
	__u32 done;		/* out */
	__u64 extents;		/* in: pointer to struct kz_extent[nr_extents] */
};

#define KZ_VERSION	_IOWR('Z', 0x40, struct kz_version)
#define KZ_CREATE	_IOWR('Z', 0x41, struct kz_create)
#define KZ_MOVE		_IOWR('Z', 0x42, struct kz_move)
#define KZ_QUERY	_IOWR('Z', 0x43, struct kz_query)

#endif
