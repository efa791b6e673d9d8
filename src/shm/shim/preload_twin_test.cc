// Every call on a mapping is made twice: on memory that may be the shim's, and on its twin, which
// comes from the kernel itself. Answers and bytes have to be the same, whatever is asked.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <vector>

#include "shm/shim/preload_test.h"

namespace zerrow::shim {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kPages = 259;  // not a multiple of what the shim counts in
constexpr int kReadWrite = PROT_READ | PROT_WRITE;
constexpr int kPrivate = MAP_PRIVATE | MAP_ANONYMOUS;
// Newer than the headers.
constexpr int kPopulateRead = 22;
constexpr int kPopulateWrite = 23;
constexpr int kDontNeedLocked = 24;
constexpr int kGuardInstall = 102;
constexpr int kGuardRemove = 103;

// With nothing behind them.
constexpr size_t kGap = size_t{64} << 10;

uint8_t* Map(size_t bytes) {
  void* p = ::mmap(nullptr, bytes + kGap, kReadWrite, kPrivate, -1, 0);
  ::munmap(static_cast<uint8_t*>(p) + bytes, kGap);
  return static_cast<uint8_t*>(p);
}

uint8_t* MapPlain(size_t bytes) {
  const long p = ::syscall(SYS_mmap, nullptr, bytes + kGap, kReadWrite, kPrivate, -1, 0);
  ::syscall(SYS_munmap, p + static_cast<long>(bytes), kGap);
  return reinterpret_cast<uint8_t*>(p);
}

// What pages have at their begin; kUnreadable if they can't be read.
constexpr uint64_t kUnreadable = UINT64_MAX;
using Words = std::array<uint64_t, kPages>;

Words ReadWords(uint8_t* base) {
  Words words = {};
  std::array<iovec, kPages> from;
  for (size_t i = 0; i < kPages; ++i) from[i] = {base + i * kPage, sizeof(uint64_t)};
  for (size_t i = 0; i < kPages;) {
    iovec to = {&words[i], (kPages - i) * sizeof(uint64_t)};
    const ssize_t read = ::process_vm_readv(::getpid(), &to, 1, &from[i], kPages - i, 0);
    i += read > 0 ? static_cast<size_t>(read) / sizeof(uint64_t) : 0;
    if (i < kPages) words[i++] = kUnreadable;
  }
  return words;
}

void WriteWord(uint8_t* at, uint64_t word) {
  iovec from = {&word, sizeof(word)};
  iovec to = {at, sizeof(word)};
  ::process_vm_writev(::getpid(), &from, 1, &to, 1, 0);
}

class Twins {
 public:
  explicit Twins(uint32_t seed) : random_(seed) {
    mine_ = Map(kPages * kPage);
    twin_ = MapPlain(kPages * kPage);
  }
  ~Twins() {
    ::munmap(mine_, kPages * kPage);
    ::syscall(SYS_munmap, twin_, kPages * kPage);
  }

  void Step() {
    switch (random_.Below(12)) {
      case 0:
        return Protect();
      case 1:
        return Unmap();
      case 2:
        return MapOver();
      case 3:
        return Lock();
      case 4:
        return Fork();
      case 5:
        return random_.Below(2) == 0 ? Odd() : OddMoves();
      case 6:
      case 7:
        return Write();
      default:
        return Advise();
    }
  }

 private:
  struct Part {
    size_t first;
    size_t count;
  };

  Part SomePart() {
    const size_t first = random_.Below(kPages);
    return {first, 1 + random_.Below(std::min<size_t>(kPages - first, 40))};
  }

  bool HasHole(Part part) const {
    for (size_t i = part.first; i < part.first + part.count; ++i) {
      if (!mapped_[i]) return true;
    }
    return false;
  }

  // The answer of a call: 0 or errno.
  static int Call(const std::function<bool()>& succeeds) { return succeeds() ? 0 : errno; }

  void Both(const char* what, const std::function<bool(uint8_t*)>& call) {
    AskBoth(what, call);
    Compare(what);
  }

  void AskBoth(const char* what, const std::function<bool(uint8_t*)>& call) {
    const int expected = Call([&] { return call(twin_); });
    const int answer = Call([&] { return call(mine_); });
    ASSERT_EQ(answer, expected) << what << ": " << std::strerror(answer) << " instead of "
                                << std::strerror(expected);
  }

  bool Same() const { return FirstDifference() == kPages; }

  void Compare(const char* what) const {
    const size_t page = FirstDifference();
    ASSERT_EQ(page, kPages) << what;
  }

  size_t FirstDifference() const {
    const Words mine = ReadWords(mine_);
    const Words twin = ReadWords(twin_);
    size_t page = 0;
    // Where nothing is mapped there may be somebody else's by now.
    while (page < kPages && (!mapped_[page] || mine[page] == twin[page])) ++page;
    return page;
  }

  void Write() {
    const Part part = SomePart();
    for (size_t i = part.first; i < part.first + part.count; ++i) {
      if (!mapped_[i]) continue;
      const uint64_t word = ++next_word_;
      WriteWord(mine_ + i * kPage, word);
      WriteWord(twin_ + i * kPage, word);
    }
    Compare("write");
  }

  void Protect() {
    constexpr std::array kProtections = {kReadWrite, kReadWrite,
                                         kReadWrite, PROT_READ,
                                         PROT_NONE,  PROT_READ | PROT_EXEC,
                                         PROT_EXEC,  kReadWrite | PROT_EXEC,
                                         0x400,      PROT_GROWSDOWN | PROT_READ};
    const Part part = SomePart();
    const int protection = kProtections[random_.Below(kProtections.size())];
    if ((protection & PROT_GROWSDOWN) != 0 && HasHole(part)) return;  // ENOMEM or EINVAL
    Both("mprotect", [&](uint8_t* p) {
      return ::mprotect(p + part.first * kPage, part.count * kPage, protection) == 0;
    });
  }

  void Unmap() {
    Part part = SomePart();
    part.count = std::min<size_t>(part.count, 1 + random_.Below(20));
    const int times = random_.Below(3) == 0 && !HasHole(part) ? 2 : 1;
    for (size_t i = part.first; i < part.first + part.count; ++i) mapped_[i] = false;
    for (int i = 0; i < times; ++i) {
      Both("munmap",
           [&](uint8_t* p) { return ::munmap(p + part.first * kPage, part.count * kPage) == 0; });
    }
  }

  void MapOver() {
    const Part part = SomePart();
    constexpr std::array kFixed = {MAP_FIXED, MAP_FIXED, MAP_FIXED_NOREPLACE};
    const int fixed = kFixed[random_.Below(kFixed.size())];
    const int protection = random_.Below(4) == 0 ? kReadWrite | PROT_EXEC : kReadWrite;
    int answer = 0;
    Both("mmap", [&](uint8_t* p) {
      uint8_t* at = p + part.first * kPage;
      const bool done = ::mmap(at, part.count * kPage, protection, kPrivate | fixed, -1, 0) == at;
      answer = done ? 0 : errno;
      if (done && p == mine_) {
        for (size_t i = part.first; i < part.first + part.count; ++i) mapped_[i] = true;
      }
      return done;
    });
  }

  void Lock() {
    rlimit limit = {};
    ::getrlimit(RLIMIT_MEMLOCK, &limit);
    const Part part = SomePart();
    if (limit.rlim_cur < 4 * kPages * kPage || HasHole(part)) return;
    const bool lock = random_.Below(3) == 0;
    Both("mlock", [&](uint8_t* p) {
      uint8_t* at = p + part.first * kPage + 1;
      return (lock ? ::mlock(at, part.count * kPage - 1) : ::munlock(at, part.count * kPage - 1)) ==
             0;
    });
  }

  void Advise() {
    constexpr std::array kAdvices = {MADV_DONTNEED,    MADV_DONTNEED,   MADV_DONTNEED,
                                     MADV_NORMAL,      MADV_RANDOM,     MADV_SEQUENTIAL,
                                     MADV_WILLNEED,    MADV_FREE,       MADV_REMOVE,
                                     MADV_DONTFORK,    MADV_DOFORK,     MADV_WIPEONFORK,
                                     MADV_KEEPONFORK,  MADV_COLD,       MADV_PAGEOUT,
                                     MADV_HUGEPAGE,    MADV_NOHUGEPAGE, MADV_MERGEABLE,
                                     MADV_UNMERGEABLE, MADV_DONTDUMP,   MADV_DODUMP,
                                     kPopulateRead,    kPopulateWrite,  kDontNeedLocked,
                                     kGuardInstall,    kGuardRemove,    77};
    const Part part = SomePart();
    const int advice = kAdvices[random_.Below(kAdvices.size())];
    const size_t bytes = part.count * kPage - random_.Below(2);
    const std::string what = "madvise " + std::to_string(advice);
    Both(what.c_str(),
         [&](uint8_t* p) { return ::madvise(p + part.first * kPage, bytes, advice) == 0; });
    if (advice != MADV_FREE) return;
    // The kernel may take these away at any time: that is not to be waited for.
    Both("madvise after MADV_FREE",
         [&](uint8_t* p) { return ::madvise(p + part.first * kPage, bytes, MADV_DONTNEED) == 0; });
  }

  void Fork() {
    const pid_t pid = ::fork();
    if (pid == 0) {
      bool same = Same();
      ::madvise(mine_, kPages * kPage, MADV_DONTNEED);
      ::madvise(twin_, kPages * kPage, MADV_DONTNEED);
      same &= Same();
      const pid_t grandchild = ::fork();
      if (grandchild == 0) ::_exit(Same() ? 0 : 1);
      ::_exit(same && ChildSucceeded(grandchild) ? 0 : 1);
    }
    ASSERT_TRUE(ChildSucceeded(pid)) << "in the child";
    Compare("fork");
  }

  // Sizes and addresses that can't be.
  void Odd() {
    constexpr std::array kSizes = {SIZE_MAX, SIZE_MAX - kPage + 1, SIZE_MAX - 5 * kPage,
                                   SIZE_MAX - (size_t{1} << 30)};
    const size_t size = kSizes[random_.Below(kSizes.size())];
    const size_t at = random_.Below(kPages) * kPage;
    const int protection = random_.Below(2) == 0 ? kReadWrite : PROT_NONE;
    AskBoth("munmap of too much", [&](uint8_t* p) { return ::munmap(p + at, size) == 0; });
    AskBoth("munmap of nothing", [&](uint8_t* p) { return ::munmap(p + at, 0) == 0; });
    AskBoth("munmap inside a page", [&](uint8_t* p) { return ::munmap(p + at + 8, kPage) == 0; });
    AskBoth("mprotect of too much",
            [&](uint8_t* p) { return ::mprotect(p + at, size, PROT_NONE) == 0; });
    AskBoth("mprotect inside a page",
            [&](uint8_t* p) { return ::mprotect(p + at + 1, kPage, protection) == 0; });
    AskBoth("mprotect beyond the end", [&](uint8_t* p) {
      return ::mprotect(p + at, (kPages + 3) * kPage - at, protection) == 0;
    });
    for (const int advice : {MADV_DONTNEED, MADV_FREE, MADV_WIPEONFORK, MADV_NORMAL}) {
      AskBoth("madvise of too much",
              [&](uint8_t* p) { return ::madvise(p + at, size, advice) == 0; });
      AskBoth("madvise inside a page",
              [&](uint8_t* p) { return ::madvise(p + at + 1, kPage, advice) == 0; });
      AskBoth("madvise of nothing", [&](uint8_t* p) { return ::madvise(p + at, 0, advice) == 0; });
    }
    AskBoth("mlock of too much", [&](uint8_t* p) { return ::mlock(p + at, size) == 0; });
    AskBoth("mmap of too much", [&](uint8_t* p) {
      return ::mmap(p + at, size, protection, kPrivate | MAP_FIXED, -1, 0) != MAP_FAILED;
    });
    AskBoth("mmap inside a page", [&](uint8_t* p) {
      return ::mmap(p + at + 1, kPage, protection, kPrivate | MAP_FIXED, -1, 0) != MAP_FAILED;
    });
    AskBoth("mmap of no file", [&](uint8_t* p) {
      return ::mmap(p + at, kPage, protection, MAP_PRIVATE | MAP_FIXED, -1, 0) != MAP_FAILED;
    });
    Compare("odd requests");
  }

  // What mremap can't do, however it is asked.
  void OddMoves() {
    if (HasHole({0, 4})) return;
    struct Request {
      size_t old_size;
      size_t new_size;
      int flags;
      ptrdiff_t target;  // from the mapping's begin
    };
    constexpr int kMove = MREMAP_MAYMOVE;
    constexpr int kFixed = MREMAP_MAYMOVE | MREMAP_FIXED;
    const std::array requests = {
        Request{kPage, SIZE_MAX, kMove, 0},
        Request{kPage, SIZE_MAX - 5 * kPage, 0, 0},
        Request{kPage, SIZE_MAX - 5 * kPage, kMove, 0},
        Request{SIZE_MAX, kPage, kMove, 0},
        Request{0, kPage, kMove, 0},
        Request{kPage, 0, kMove, 0},
        Request{kPage, 2 * kPage, MREMAP_FIXED, 0},
        Request{kPage, 2 * kPage, MREMAP_DONTUNMAP, 0},
        Request{kPage, 2 * kPage, kMove | MREMAP_DONTUNMAP, 0},
        Request{kPage, kPage, kMove | 64, 0},
        Request{4 * kPage, 4 * kPage, kFixed, 0},
        Request{4 * kPage, 4 * kPage, kFixed, 3 * kPage},
        Request{4 * kPage, 4 * kPage, kFixed, kPage / 2},
        Request{kPages * kPage * 2, kPages * kPage * 3, kMove, 0},
    };
    for (const Request& request : requests) {
      AskBoth("mremap", [&](uint8_t* p) {
        void* moved =
            ::mremap(p, request.old_size, request.new_size, request.flags, p + request.target);
        if (errno == ENOMEM) errno = EINVAL;  // kernels differ in which they say
        return moved != MAP_FAILED;
      });
    }
    AskBoth("mremap inside a page",
            [](uint8_t* p) { return ::mremap(p + 8, kPage, kPage, 0) != MAP_FAILED; });
    Compare("odd moves");
  }

  Random random_;
  uint64_t next_word_ = 0;
  uint8_t* mine_;
  uint8_t* twin_;
  std::vector<bool> mapped_ = std::vector<bool>(kPages, true);
};

class PreloadTwin : public ::testing::TestWithParam<uint32_t> {};

TEST_P(PreloadTwin, AnswersAreThoseOfPrivateMemory) {
  const zerrow_shim_stats before = Stats();
  for (int round = 0; round < 4 * Scale() && !HasFatalFailure(); ++round) {
    Twins twins(GetParam() * 1000 + static_cast<uint32_t>(round));
    for (int step = 0; step < 60 && !HasFatalFailure(); ++step) twins.Step();
  }
  EXPECT_TRUE(!Preloaded() || Stats().allocations >= before.allocations + 4);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PreloadTwin, ::testing::Range(0U, 8U));

}  // namespace
}  // namespace zerrow::shim
