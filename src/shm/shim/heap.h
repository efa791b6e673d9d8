// Large memory in chunks: the allocator behind the replaced libc symbols.
//
// Binds the Arena's granules to addresses in one reserved range, asks the broker for chunks, and
// gives chunk memory, which is MAP_SHARED, the meaning that programs expect of private memory:
// zeros where they are promised, copy-on-write across fork, partial unmapping.
// Thread safety: all methods, by one lock; errno is kept. A method that takes an address expects
// one for which Owns() is true. Uses neither malloc nor libstdc++. If the process dies the engine
// still holds the chunks' files; nothing else remains.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "shm/shim/arena.h"
#include "shm/shim/broker_client.h"
#include "shm/shim/layout.h"
#include "shm/shim/pages.h"
#include "shm/shim/ranges.h"
#include "shm/shim/shim.h"
#include "shm/shim/sys.h"

namespace zerrow::shim {

class Heap {
 public:
  constexpr Heap() = default;
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  /// See zerrow_shim_start.
  int Start(int broker_fd);
  /// True if allocations are served: started, and not a forked child.
  bool active() const { return state_.load(std::memory_order_acquire) == State::kActive; }
  bool Owns(const void* p) const { return OffsetOf(reinterpret_cast<uintptr_t>(p)) < size(); }

  // --- the malloc family
  /// nullptr if no chunk is to be had. `headroom_bytes`: to be able to grow in place later.
  void* Allocate(size_t size_bytes, size_t alignment, bool zeroed, size_t headroom_bytes = 0);
  void Free(void* p);
  bool ResizeInPlace(void* p, size_t size_bytes);
  size_t UsableBytes(void* p);

  // --- mappings; sizes are rounded up to pages. Errors are errno values, 0 is success, and they
  // are those that the kernel has for private memory.
  /// A private anonymous read-write mapping; nullptr if no chunk is to be had.
  void* Map(size_t size_bytes, size_t alignment);
  /// mmap with MAP_FIXED or MAP_FIXED_NOREPLACE over chunk memory.
  int MapFixed(uintptr_t address, size_t size_bytes, int protection, int flags, int fd,
               int64_t offset);
  /// mremap of memory from elsewhere over chunk memory. What the program has mapped in this way
  /// stays until it unmaps it.
  int RemapOver(uintptr_t address, size_t old_bytes, size_t new_bytes, int flags, uintptr_t target);
  void Unmap(uintptr_t address, size_t size_bytes);
  int Advise(uintptr_t address, size_t size_bytes, int advice);
  /// mprotect, or pkey_mprotect if there is a key.
  int Protect(uintptr_t address, size_t size_bytes, int protection, int key = -1);
  /// mlock2 with these flags, or munlock.
  int SetLocked(uintptr_t address, size_t size_bytes, bool locked, unsigned flags = 0);
  /// munlockall has been called.
  void ForgetLocks();
  bool GrowMapping(uintptr_t address, size_t old_bytes, size_t new_bytes);

  /// What a mapping has besides its bytes.
  struct Traits {
    int protection;
    unsigned advice;  // bits of Advice
  };
  enum Advice : unsigned {
    kLocked = 1,
    kDontFork = 2,
    kWipeOnFork = 4,
    kHinted = 8,  // what the kernel knows and only needs to forget when the memory is freed
  };
  /// EFAULT unless all of it is mapped and alike, so that mremap can move it.
  int TraitsOf(uintptr_t address, size_t size_bytes, Traits* traits);
  /// Makes it readable for a copy that is about to be made.
  void MakeReadable(uintptr_t address, size_t size_bytes);
  void CountCopy(size_t bytes);

  // --- fork: called by the handlers of pthread_atfork
  void PrepareFork();
  void AfterForkInParent();
  void AfterForkInChild();

  // --- what zerrow_shim_* answers
  size_t ListRanges(bool partial, zerrow_shim_range* out, size_t capacity);
  bool Shareable(uintptr_t address, size_t size_bytes);
  /// See zerrow_shim_let_go. The lock stays taken.
  void LetGo();
  zerrow_shim_stats stats();

  /// The part of [address, address + size) inside the reserved range; end <= begin if none is.
  struct Span {
    uintptr_t begin;
    uintptr_t end;
  };
  Span Clip(uintptr_t address, size_t size_bytes) const;
  /// Whole pages, also outside the reserved range; false if the end is beyond all addresses.
  static bool WholePages(uintptr_t address, size_t size_bytes, Span* span);

 private:
  enum class State { kAsleep, kActive, kInherited /* by a forked child */ };

  // A chunk stands at its first slot.
  struct Chunk {
    uint64_t segment;
    size_t size_bytes;  // 0: no chunk
    KeptFd file;
    bool dedicated;
    bool retired;
    bool idle;  // wholly free, kept for reuse
  };

  // What has to be done to granules before they are handed out, outside the lock.
  struct Fresh {
    ChunkPages cold;
    ChunkPages dirty;
  };

  class Lock {
   public:
    explicit Lock(Heap* heap) : heap_(heap), errno_(errno) { pthread_mutex_lock(&heap_->mutex_); }
    ~Lock() {
      pthread_mutex_unlock(&heap_->mutex_);
      errno = errno_;
    }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    Heap* heap_;
    int errno_;
  };

  size_t size() const { return size_bytes_.load(std::memory_order_acquire); }
  uintptr_t OffsetOf(uintptr_t address) const {
    return address - base_.load(std::memory_order_relaxed);
  }
  uintptr_t AddressOf(uint32_t granule) const {
    return base_.load(std::memory_order_relaxed) + granule * kGranuleBytes;
  }
  uint32_t GranuleOf(uintptr_t address) const {
    return static_cast<uint32_t>(OffsetOf(address) / kGranuleBytes);
  }
  uint64_t PageOf(uintptr_t address) const { return OffsetOf(address) / kPageBytes; }

  bool ReserveRange();
  uint32_t FirstGranule(const Chunk& chunk) const;
  static uint32_t Granules(const Chunk& chunk) {
    return static_cast<uint32_t>(chunk.size_bytes / kGranuleBytes);
  }
  uintptr_t Begin(const Chunk& chunk) const { return AddressOf(FirstGranule(chunk)); }
  uintptr_t End(const Chunk& chunk) const { return Begin(chunk) + chunk.size_bytes; }
  Chunk* ChunkAt(uintptr_t address);
  template <typename Visit>
  void ForEachChunk(Visit visit);
  /// Calls visit(chunk, begin, end) for the parts of the span that lie in chunks.
  template <typename Visit>
  void ForEachChunkIn(Span span, Visit visit);
  /// The same for what of it the program has mapped; false if that isn't all of the span.
  template <typename Visit>
  bool ForEachMappedIn(Span span, Visit visit);

  Chunk* RequestChunk(size_t size_bytes, bool dedicated);
  Chunk* IdleDedicatedChunk(size_t size_bytes);
  uint32_t FindSlots(uint32_t count) const;
  Chunk* Adopt(const Grant& grant, bool dedicated);
  void Drop(Chunk* chunk);
  bool HandleFreed(Chunk* chunk, size_t bytes);
  size_t KeepLimit() const;
  void KeepMore(size_t bytes);
  void GiveBackFree();
  size_t GiveBackFreeOf(const Chunk& chunk, size_t limit_bytes);
  bool IsGivable(uint32_t granule) const;

  uint32_t TakeGranules(uint32_t count, uint32_t headroom, size_t alignment);
  void* AllocateGranules(size_t size_bytes, size_t alignment, size_t headroom_bytes, Fresh* fresh);
  Fresh UseGranules(const Chunk& chunk, uint32_t first, uint32_t count);
  ChunkPages PagesOf(const Chunk& chunk, Span span) const;
  void Settle(const Fresh& fresh, bool zeroed);
  void FreeGranules(Chunk* chunk, uint32_t first, uint32_t count);
  Span FlaggedSpan(uint32_t first, uint32_t count, Arena::Flag flag) const;
  void CheckStart(uintptr_t address);

  void ResetMapping(Chunk* chunk, uintptr_t begin, uintptr_t end);
  bool RestoreFile(const Chunk& chunk, Ranges* exceptions, uintptr_t begin, uintptr_t end);
  void Punch(const Chunk& chunk, uintptr_t begin, uintptr_t end);
  int ProtectIn(Span span, int protection, int key);
  bool CanRecord() const;
  bool CanMapOver(Span span) const;
  bool IsAllFree(Span span) const;
  void MapOver(Span span);
  void OccupyPages(Span span);
  void Discard(const Chunk& chunk, uintptr_t begin, uintptr_t end);
  void DiscardShared(const Chunk& chunk, uintptr_t begin, uintptr_t end);
  void DiscardPrivate(uintptr_t begin, uintptr_t end);
  int AdviseIn(const Chunk& chunk, uintptr_t begin, uintptr_t end, int advice);
  int AdviseChunk(const Chunk& chunk, uintptr_t begin, uintptr_t end, int advice);
  int AdviseUnlocked(const Chunk& chunk, uintptr_t begin, uintptr_t end, int advice);
  int NoteAdvice(uintptr_t begin, uintptr_t end, int advice);
  bool ChangeAdvice(uintptr_t begin, uintptr_t end, unsigned set, unsigned clear);
  void ApplyProtections(uintptr_t begin, uintptr_t end);
  void ApplyAdvice(uintptr_t begin, uintptr_t end);
  void ApplyAdviceInChild();
  void Retire(Chunk* chunk);
  void MapPrivately(const Chunk& chunk, uintptr_t begin, uintptr_t end, int protection);
  bool PagesAreFile(uintptr_t begin, uintptr_t end) const;

  std::atomic<State> state_ = State::kAsleep;
  std::atomic<uintptr_t> base_ = 0;
  std::atomic<size_t> size_bytes_ = 0;  // of the reserved range; 0: nothing is ours
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;

  // Guarded by mutex_.
  Arena arena_;
  BrokerClient broker_;
  Chunk* chunks_ = nullptr;          // by first slot
  uint32_t* slot_owners_ = nullptr;  // of each slot: its chunk's first slot + 1; 0: free
  uint32_t slots_ = 0;
  uint32_t slot_limit_ = 0;  // no slot from here on was ever used
  size_t idle_bytes_ = 0;    // of idle chunks
  size_t keep_bytes_ = kKeepAtFirstBytes;
  size_t released_bytes_ = 0;        // given back and not asked for again
  size_t freed_bytes_ = 0;           // since what is free was counted last
  size_t counted_bytes_ = 0;         // of all chunks, at that time
  size_t kept_discarded_bytes_ = 0;  // discarded so far without giving them back
  uint32_t requests_to_skip_ = 0;    // after a refusal of refused_bytes_
  size_t refused_bytes_ = 0;
  Ranges protections_;  // tag: the protection, where it isn't read-write
  Ranges foreign_;      // where the chunk's file is not mapped
  Ranges advice_;       // tag: bits of Advice
  zerrow_shim_stats stats_ = {};
};

}  // namespace zerrow::shim
