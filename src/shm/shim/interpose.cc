// The libc symbols that the shim replaces in a preloaded process, and its C interface.
//
// Routing only: what is large goes to the Heap, what lies in the Heap's range stays there, and all
// else is libc's. Small requests cost one comparison more than without the shim.
#include <dlfcn.h>

#include <cerrno>
#include <cstdarg>
#include <cstring>

#include "shm/shim/heap.h"

#define ZERROW_EXPORT extern "C" __attribute__((visibility("default")))

extern "C" {
void* __libc_malloc(size_t size);
void __libc_free(void* p);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* p, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
}

namespace {

using namespace zerrow::shim;  // NOLINT(google-build-using-namespace): one file, many names

constinit Heap g_heap;

// Smaller than this, what is left of a shrunk buffer moves to libc and frees its granules.
constexpr size_t kKeepShrunkBytes = kMinMallocBytes / 2;
constexpr size_t kDefaultAlignment = 16;
constexpr uintptr_t kAddresses = uintptr_t{1} << 47;  // that a program can have

size_t LibcUsableBytes(void* p) {
  using Function = size_t (*)(void*);
  static std::atomic<Function> libc = nullptr;
  Function function = libc.load(std::memory_order_relaxed);
  if (function == nullptr) {
    function = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, "malloc_usable_size"));
    libc.store(function, std::memory_order_relaxed);
  }
  return function(p);
}

void* AllocateLarge(size_t size, size_t alignment, bool zeroed) {
  if (size < kMinMallocBytes || !g_heap.active()) return nullptr;
  return g_heap.Allocate(size, alignment, zeroed);
}

bool IsPowerOfTwo(size_t value) { return value != 0 && (value & (value - 1)) == 0; }

void* AllocateAligned(size_t alignment, size_t size) {
  void* p = IsPowerOfTwo(alignment) ? AllocateLarge(size, alignment, /*zeroed=*/false) : nullptr;
  return p != nullptr ? p : __libc_memalign(alignment, size);
}

void* MoveTo(void* to, void* from, size_t size) {
  if (to == nullptr) return nullptr;
  std::memcpy(to, from, size);
  g_heap.CountCopy(size);
  free(from);
  return to;
}

// What grows once grows again, and moving is dear where it is large. Where it is small, the room
// that it never grows into costs more: it stands between the buffers of the output.
size_t Headroom(size_t size) { return size < kMinHeadroomBytes ? 0 : size; }

void* ReallocateOwned(void* p, size_t size) {
  if (size >= kKeepShrunkBytes && g_heap.ResizeInPlace(p, size)) return p;
  const size_t old_size = g_heap.UsableBytes(p);
  if (size <= old_size) return MoveTo(malloc(size), p, size);
  void* to = g_heap.Allocate(size, kDefaultAlignment, /*zeroed=*/false, Headroom(size));
  return MoveTo(to != nullptr ? to : __libc_malloc(size), p, old_size);
}

void* ReallocateLibc(void* p, size_t size) {
  if (size < kMinMallocBytes || !g_heap.active()) return __libc_realloc(p, size);
  void* to = g_heap.Allocate(size, kDefaultAlignment, /*zeroed=*/false, Headroom(size));
  if (to == nullptr) return __libc_realloc(p, size);
  const size_t old_size = LibcUsableBytes(p);
  return MoveTo(to, p, old_size < size ? old_size : size);
}

bool IsLargeAnonymous(size_t size, int protection, int flags) {
  constexpr int kIgnored = MAP_NORESERVE | MAP_POPULATE;
  return size >= kMinMmapBytes && size != kPymallocArenaBytes &&
         protection == (PROT_READ | PROT_WRITE) &&
         (flags & ~kIgnored) == (MAP_PRIVATE | MAP_ANONYMOUS);
}

// An address hint tells what alignment an allocator would like, and it would map and unmap until
// it got that.
size_t HintedAlignment(uintptr_t hint) {
  const uintptr_t lowest = hint & (~hint + 1);
  if (lowest < kPageBytes) return kPageBytes;
  return lowest < kDedicatedBytes ? lowest : kDedicatedBytes;
}

bool OverlapsHeap(uintptr_t address, size_t size) {
  const Heap::Span span = g_heap.Clip(address, size);
  return span.begin < span.end;
}

uintptr_t AddressOf(const void* p) { return reinterpret_cast<uintptr_t>(p); }

int Answer(int error) {
  if (error == 0) return 0;
  errno = error;
  return -1;
}

void* Failed(int error) {
  errno = error;
  return MAP_FAILED;
}

// Gives memory that has been moved, or is new at the end of a mapping, what that had.
void Carry(const Heap::Traits& traits, void* p, size_t size) {
  if ((traits.advice & Heap::kDontFork) != 0) madvise(p, size, MADV_DONTFORK);
  if ((traits.advice & Heap::kWipeOnFork) != 0) madvise(p, size, MADV_WIPEONFORK);
  if ((traits.advice & Heap::kLocked) != 0) mlock(p, size);
  if (traits.protection != (PROT_READ | PROT_WRITE)) mprotect(p, size, traits.protection);
}

// mremap of chunk memory by copying: to `target` where the program asked for that.
void* MoveMapping(uintptr_t address, size_t old_size, size_t new_size, int flags, void* target,
                  const Heap::Traits& traits) {
  constexpr int kReadWrite = PROT_READ | PROT_WRITE;
  const int fixed = (flags & MREMAP_FIXED) != 0 ? MAP_FIXED : 0;
  void* to = mmap(fixed != 0 ? target : nullptr, new_size, kReadWrite,
                  MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0);
  if (to == MAP_FAILED) return to;
  if ((traits.protection & PROT_READ) == 0) g_heap.MakeReadable(address, old_size);
  const size_t size = old_size < new_size ? old_size : new_size;
  std::memcpy(to, reinterpret_cast<void*>(address), size);
  g_heap.CountCopy(size);
  if ((flags & MREMAP_DONTUNMAP) != 0) {
    // The pages are gone from there, and with them the lock.
    g_heap.SetLocked(address, old_size, /*locked=*/false);
    g_heap.Advise(address, old_size, MADV_DONTNEED);
    g_heap.Protect(address, old_size, traits.protection);
  } else {
    g_heap.Unmap(address, old_size);
  }
  Carry(traits, to, new_size);
  return to;
}

bool IsRemapRequest(uintptr_t address, size_t old_size, size_t new_size, int flags,
                    uintptr_t target) {
  constexpr int kMoves = MREMAP_FIXED | MREMAP_DONTUNMAP;
  if (address % kPageBytes != 0 || old_size == 0 || new_size == 0 || new_size > kAddresses ||
      (flags & ~(MREMAP_MAYMOVE | kMoves)) != 0) {
    return false;
  }
  if ((flags & kMoves) == 0) return true;
  const bool apart = target >= address + old_size || target + new_size <= address;
  return (flags & MREMAP_MAYMOVE) != 0 && target % kPageBytes == 0 && target <= kAddresses &&
         apart && ((flags & MREMAP_DONTUNMAP) == 0 || old_size == new_size);
}

void* RemapOwned(uintptr_t address, size_t old_size, size_t new_size, int flags, void* target) {
  old_size = RoundUp(old_size, kPageBytes);  // to 0 if there is no such size
  new_size = RoundUp(new_size, kPageBytes);
  if (!IsRemapRequest(address, old_size, new_size, flags, AddressOf(target))) return Failed(EINVAL);
  const bool moves = (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0;
  if (!moves && new_size < old_size) {
    g_heap.Unmap(address + new_size, old_size - new_size);
    return reinterpret_cast<void*>(address);
  }
  Heap::Traits traits = {};
  const int error = g_heap.TraitsOf(address, old_size, &traits);
  if (error != 0) return Failed(error);
  if (!moves) {
    if (new_size == old_size) return reinterpret_cast<void*>(address);
    if (g_heap.GrowMapping(address, old_size, new_size)) {
      Carry(traits, reinterpret_cast<void*>(address + old_size), new_size - old_size);
      return reinterpret_cast<void*>(address);
    }
    if ((flags & MREMAP_MAYMOVE) == 0) return Failed(ENOMEM);
  }
  return MoveMapping(address, old_size, new_size, flags, target, traits);
}

__attribute__((constructor)) void RegisterForkHandlers() {
  ::pthread_atfork([] { g_heap.PrepareFork(); }, [] { g_heap.AfterForkInParent(); },
                   [] { g_heap.AfterForkInChild(); });
}

}  // namespace

// --- the malloc family

ZERROW_EXPORT void* malloc(size_t size) {
  void* p = AllocateLarge(size, kDefaultAlignment, /*zeroed=*/false);
  return p != nullptr ? p : __libc_malloc(size);
}

ZERROW_EXPORT void free(void* p) {
  if (g_heap.Owns(p)) {
    g_heap.Free(p);
  } else {
    __libc_free(p);
  }
}

ZERROW_EXPORT void* calloc(size_t count, size_t size) {
  size_t bytes = 0;
  void* p = __builtin_mul_overflow(count, size, &bytes)
                ? nullptr
                : AllocateLarge(bytes, kDefaultAlignment, /*zeroed=*/true);
  return p != nullptr ? p : __libc_calloc(count, size);
}

ZERROW_EXPORT void* realloc(void* p, size_t size) {
  if (p == nullptr) return malloc(size);
  if (!g_heap.Owns(p)) return ReallocateLibc(p, size);
  if (size == 0) {
    free(p);
    return nullptr;
  }
  return ReallocateOwned(p, size);
}

ZERROW_EXPORT void* reallocarray(void* p, size_t count, size_t size) {
  size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    errno = ENOMEM;
    return nullptr;
  }
  return realloc(p, bytes);
}

ZERROW_EXPORT void* memalign(size_t alignment, size_t size) {
  return AllocateAligned(alignment, size);
}

ZERROW_EXPORT void* aligned_alloc(size_t alignment, size_t size) {
  return AllocateAligned(alignment, size);
}

ZERROW_EXPORT int posix_memalign(void** out, size_t alignment, size_t size) {
  if (alignment % sizeof(void*) != 0 || !IsPowerOfTwo(alignment)) return EINVAL;
  const int saved_errno = errno;
  void* p = AllocateAligned(alignment, size);
  errno = saved_errno;
  if (p == nullptr) return ENOMEM;
  *out = p;
  return 0;
}

ZERROW_EXPORT void* valloc(size_t size) { return AllocateAligned(kPageBytes, size); }

ZERROW_EXPORT void* pvalloc(size_t size) {
  if (size > SIZE_MAX - kPageBytes) {
    errno = ENOMEM;
    return nullptr;
  }
  return AllocateAligned(kPageBytes, RoundUp(size, kPageBytes));
}

ZERROW_EXPORT size_t malloc_usable_size(void* p) {
  if (p == nullptr) return 0;
  return g_heap.Owns(p) ? g_heap.UsableBytes(p) : LibcUsableBytes(p);
}

// --- mappings

ZERROW_EXPORT void* mmap(void* address, size_t size, int protection, int flags, int fd,
                         off_t offset) {
  const uintptr_t at = AddressOf(address);
  if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0 && OverlapsHeap(at, size)) {
    const int error = g_heap.MapFixed(at, size, protection, flags, fd, offset);
    return error == 0 ? address : Failed(error);
  }
  if (IsLargeAnonymous(size, protection, flags) && g_heap.active()) {
    void* p = g_heap.Map(size, HintedAlignment(at));
    if (p != nullptr) return p;
  }
  return SysMmap(at, size, protection, flags, fd, offset);
}

ZERROW_EXPORT void* mmap64(void* address, size_t size, int protection, int flags, int fd,
                           off64_t offset) {
  return mmap(address, size, protection, flags, fd, offset);
}

ZERROW_EXPORT int munmap(void* address, size_t size) {
  const uintptr_t at = AddressOf(address);
  const Heap::Span heap = g_heap.Clip(at, size);
  if (heap.begin >= heap.end) return SysMunmap(at, size);
  if (at % kPageBytes != 0 || size > kAddresses || at > kAddresses - size) return Answer(EINVAL);
  g_heap.Unmap(at, size);
  // The reserved range stays mapped, whatever is unmapped around it.
  const uintptr_t end = at + RoundUp(size, kPageBytes);
  const int before = at < heap.begin ? SysMunmap(at, heap.begin - at) : 0;
  const int after = end > heap.end ? SysMunmap(heap.end, end - heap.end) : 0;
  return before != 0 ? before : after;
}

ZERROW_EXPORT int mprotect(void* address, size_t size, int protection) noexcept {
  if (!g_heap.Owns(address)) return SysMprotect(AddressOf(address), size, protection);
  if (AddressOf(address) % kPageBytes != 0) return Answer(EINVAL);
  return Answer(g_heap.Protect(AddressOf(address), size, protection));
}

ZERROW_EXPORT int pkey_mprotect(void* address, size_t size, int protection, int key) noexcept {
  if (!g_heap.Owns(address)) return SysPkeyMprotect(AddressOf(address), size, protection, key);
  if (AddressOf(address) % kPageBytes != 0) return Answer(EINVAL);
  return Answer(g_heap.Protect(AddressOf(address), size, protection, key));
}

ZERROW_EXPORT int mlock2(const void* address, size_t size, unsigned flags) noexcept {
  if (!g_heap.Owns(address)) return SysMlock(AddressOf(address), size, flags);
  return Answer(g_heap.SetLocked(AddressOf(address), size, /*locked=*/true, flags));
}

ZERROW_EXPORT int mlock(const void* address, size_t size) noexcept {
  return mlock2(address, size, 0);
}

ZERROW_EXPORT int munlock(const void* address, size_t size) noexcept {
  if (!g_heap.Owns(address)) return SysMunlock(AddressOf(address), size);
  return Answer(g_heap.SetLocked(AddressOf(address), size, /*locked=*/false));
}

ZERROW_EXPORT int munlockall() noexcept {
  g_heap.ForgetLocks();
  return static_cast<int>(::syscall(SYS_munlockall));
}

ZERROW_EXPORT int madvise(void* address, size_t size, int advice) noexcept {
  if (!g_heap.Owns(address)) return SysMadvise(AddressOf(address), size, advice);
  if (AddressOf(address) % kPageBytes != 0) return Answer(EINVAL);
  return Answer(g_heap.Advise(AddressOf(address), size, advice));
}

ZERROW_EXPORT void* mremap(void* address, size_t old_size, size_t new_size, int flags,
                           ...) noexcept {
  va_list arguments;
  va_start(arguments, flags);
  void* target = va_arg(arguments, void*);
  va_end(arguments);
  const uintptr_t at = AddressOf(address);
  if (g_heap.Owns(address)) return RemapOwned(at, old_size, new_size, flags, target);
  if ((flags & MREMAP_FIXED) != 0 && OverlapsHeap(AddressOf(target), new_size)) {
    const int error = g_heap.RemapOver(at, old_size, new_size, flags, AddressOf(target));
    return error == 0 ? target : Failed(error);
  }
  return SysMremap(at, old_size, new_size, flags, AddressOf(target));
}

// --- the C interface

ZERROW_EXPORT int zerrow_shim_start(int broker_fd) { return g_heap.Start(broker_fd); }

ZERROW_EXPORT size_t zerrow_shim_ranges(zerrow_shim_range* out, size_t capacity) {
  return g_heap.ListRanges(/*partial=*/false, out, capacity);
}

ZERROW_EXPORT size_t zerrow_shim_partial_ranges(zerrow_shim_range* out, size_t capacity) {
  return g_heap.ListRanges(/*partial=*/true, out, capacity);
}

ZERROW_EXPORT int zerrow_shim_shareable(const void* address, size_t size_bytes) {
  return g_heap.Owns(address) && g_heap.Shareable(AddressOf(address), size_bytes) ? 1 : 0;
}

ZERROW_EXPORT void zerrow_shim_let_go() { g_heap.LetGo(); }

ZERROW_EXPORT void zerrow_shim_get_stats(zerrow_shim_stats* out) { *out = g_heap.stats(); }
