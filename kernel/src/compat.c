// SPDX-License-Identifier: GPL-2.0
/*
 * Symbols that the kernel doesn't export. Nothing depends on them: what a missing one would do is
 * done by copying, and KZ_VERSION's capabilities tell.
 */
#include <linux/kprobes.h>
#ifdef CONFIG_X86_KERNEL_IBT
#include <asm/cpufeature.h>
#include <asm/ibt.h>
#endif

#include "compat.h"
#include "kernelzero.h"

struct kz_symbols kz_symbols;

/*
 * A kprobe finds what kallsyms_lookup_name() would. With indirect branch tracking it is placed
 * behind the function's ENDBR, and the kernel may have overwritten the ENDBR of functions that it
 * never calls indirectly itself: calling such a one would trap.
 */
static void *kz_lookup(const char *name)
{
	struct kprobe probe = { .symbol_name = name };
	void *found;

	if (register_kprobe(&probe))
		return NULL;
	found = probe.addr;
	unregister_kprobe(&probe);
#ifdef CONFIG_X86_KERNEL_IBT
	if (is_endbr(*(u32 *)(found - ENDBR_INSN_SIZE)))
		found -= ENDBR_INSN_SIZE;
	if (cpu_feature_enabled(X86_FEATURE_IBT) && *(u32 *)found != gen_endbr())
		return NULL;
#endif
	return found;
}

void kz_symbols_init(void)
{
	kz_symbols.free_swap = kz_lookup("folio_free_swap");
	kz_symbols.split = kz_lookup(KZ_SPLIT_NAME);
	kz_symbols.drain = kz_lookup("lru_add_drain_all");
	kz_symbols.drain_local = kz_lookup("lru_add_drain");
}
