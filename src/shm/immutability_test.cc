// Conformance: what is published can't be written to, by whoever holds it or held it.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>

#include "base/fd_passing.h"
#include "shm/conformance.h"
#include "shm/hostile_reader.h"

namespace zerrow::shm {
namespace {

constexpr int64_t kSize = 2 * kMiB;

class Immutability : public Conformance {
 protected:
  // All but the last page is 'x'; that one is a hole.
  std::shared_ptr<const Segment> MakeTarget() {
    Reference reference;
    {
      TestWorker worker = AddWorker(1);
      TestWorker::Area* area = worker.Grant(kSize);
      if (area == nullptr) return nullptr;
      std::memset(area->data(), 'x', kSize);
      reference = {area->id, 0, kSize - 4096};
    }
    return Publish(1, {reference}).ValueOrDie().segments.at(0);
  }
  static void ExpectUntouched(const Segment& segment) {
    EXPECT_EQ(base::FileSize(segment.Open().ValueOrDie().get()).ValueOrDie(), kSize);
    const std::string bytes = Read(segment, 0, kSize);
    EXPECT_EQ(bytes.find_first_not_of('x'), static_cast<size_t>(kSize - 4096));
    EXPECT_EQ(bytes.find_first_not_of('\0', kSize - 4096), std::string::npos);
  }
};

TEST_P(Immutability, AHostileReaderFindsNoWay) {
  const auto segment = MakeTarget();
  ASSERT_NE(segment, nullptr);
  EXPECT_EQ(
      AttackSegment(segment->Open().ValueOrDie().get(), kSize, Confinement::kNone).ValueOrDie(),
      "");
  ExpectUntouched(*segment);
}

TEST_P(Immutability, AHostileRootOfAUserNamespaceFindsNoWay) {
  const auto segment = MakeTarget();
  ASSERT_NE(segment, nullptr);
  const auto through =
      AttackSegment(segment->Open().ValueOrDie().get(), kSize, Confinement::kUserNamespace);
  if (!through.ok()) GTEST_SKIP() << through.status().message();
  EXPECT_EQ(*through, "");
  ExpectUntouched(*segment);
}

// The attacks must be able to succeed, or the tests above prove nothing.
TEST_P(Immutability, TheHostileReaderIsHostile) {
  TestWorker worker = AddWorker(1);
  TestWorker::Area* area = worker.Grant(kSize);
  ASSERT_NE(area, nullptr);
  const std::string through = AttackSegment(area->fd.get(), kSize, Confinement::kNone).ValueOrDie();
  for (const char* name : {"write", "fallocate", "sendfile", "mmap", "mprotect", "madvise",
                           "reopening by /proc", "sibling", "/proc/self/mem"}) {
    EXPECT_NE(through.find(name), std::string::npos) << name << " isn't in: " << through;
  }
}

TEST_P(Immutability, NothingIsPublishedWhileItIsMappedForWriting) {
  TestWorker worker = AddWorker(1);
  TestWorker::Area* area = worker.Grant(kSize);
  ASSERT_NE(area, nullptr);
  area->fd.reset();
  EXPECT_TRUE(Publish(1, {{area->id, 0, 4096}}).status().IsIOError());
}

TEST_P(Immutability, ADescriptorForWritingThatIsKeptIsOfNoUse) {
  base::UniqueFd kept;
  SegmentId id;
  {
    TestWorker worker = AddWorker(1);
    TestWorker::Area* area = worker.Grant(kSize);
    ASSERT_NE(area, nullptr);
    std::memset(area->data(), 'x', kSize);
    id = area->id;
    kept = base::Duplicate(area->fd.get()).ValueOrDie();
  }
  const auto out = Publish(1, {{id, 0, kSize - 4096}});
  if (!out.ok()) {
    EXPECT_TRUE(out.status().IsIOError()) << "not published: as good";
    return;
  }
  EXPECT_EQ(::pwrite(kept.get(), "H", 1, 0), -1);
  EXPECT_EQ(::ftruncate(kept.get(), 0), -1);
  ExpectUntouched(*out->segments.at(0));
}

// Sent to nobody yet: only the kernel knows that it exists.
TEST_P(Immutability, ADescriptorInFlightIsSeenOrOfNoUse) {
  int sockets[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
  const base::UniqueFd receiver(sockets[0]);
  SegmentId id;
  {
    const base::UniqueFd sender(sockets[1]);
    TestWorker worker = AddWorker(1);
    TestWorker::Area* area = worker.Grant(kSize);
    ASSERT_NE(area, nullptr);
    id = area->id;
    char byte = 0;
    iovec part{&byte, 1};
    const int fd[] = {area->fd.get()};
    ASSERT_EQ(base::SendPacket(sender.get(), {&part, 1}, fd), 1);
  }
  const auto out = Publish(1, {{id, 0, 4096}});
  EXPECT_TRUE(!out.ok() || base::IsSealed(out->segments.at(0)->Open().ValueOrDie().get()));
}

TEST_P(Immutability, AWorkersChildThatWasKilledFirstHoldsNothing) {
  base::UniqueFd socket = memory_->broker().AddWorker(1).ValueOrDie();
  int ids[2];
  ASSERT_EQ(::pipe(ids), 0);
  pid_t grandchild = 0;
  TestSignal ready;
  {
    TestProcess process([&] {
      TestWorker worker(std::move(socket));
      TestWorker::Area* area = worker.Grant(kSize);
      if (area == nullptr) return 1;
      std::memset(area->data(), 'x', kSize);
      const pid_t child = ::fork();
      if (child == 0) {
        // Writes for as long as it lives.
        while (true) area->data()[0] = 'x';
      }
      const uint64_t facts[2] = {area->id, static_cast<uint64_t>(child)};
      if (::write(ids[1], facts, sizeof(facts)) != sizeof(facts)) return 1;
      ready.Signal();
      ::pause();
      return 0;
    });
    socket.reset();
    ASSERT_TRUE(ready.Wait());
    uint64_t facts[2] = {};
    ASSERT_EQ(::read(ids[0], facts, sizeof(facts)), static_cast<ssize_t>(sizeof(facts)));
    grandchild = static_cast<pid_t>(facts[1]);
    process.Kill();
    // The worker is dead, its child is not.
    auto chunks = memory_->broker().TakeWorker(1);
    ASSERT_EQ(chunks.size(), 1u);
    const ChunkSource& source = memory_->pool().source();
    EXPECT_FALSE(source.Freeze(chunks[0].chunk).ok());
    ::kill(grandchild, SIGKILL);
    // Nobody reaps it here as the engine's zygote would; its memory goes all the same.
    ASSERT_TRUE(Eventually([&] { return source.Freeze(chunks[0].chunk).ok(); }));
    const std::vector<Reference> references = {{facts[0], 0, kSize - 4096}};
    if (!recycles()) return;  // sealed already
    const auto out = memory_->Publish(std::move(chunks), references).ValueOrDie();
    ExpectUntouched(*out.segments.at(0));
  }
  ::close(ids[0]);
  ::close(ids[1]);
}

TEST_P(Immutability, SealsThatAWorkerSetDoNoHarm) {
  for (const int seal : {F_SEAL_SEAL, F_SEAL_FUTURE_WRITE, F_SEAL_WRITE, F_SEAL_SHRINK}) {
    SegmentId id;
    {
      TestWorker worker = AddWorker(1);
      TestWorker::Area* area = worker.Grant(kSize);
      ASSERT_NE(area, nullptr);
      area->data()[0] = 'x';
      id = area->id;
      const base::UniqueFd fd = base::Duplicate(area->fd.get()).ValueOrDie();
      area->mapping = base::Mapping();  // a mapping keeps F_SEAL_WRITE from being set
      ::fcntl(fd.get(), F_ADD_SEALS, seal);
    }
    // Published and immutable, or refused; never an open door.
    const auto out = Publish(1, {{id, 0, 1}});
    if (out.ok()) {
      EXPECT_EQ(
          AttackSegment(out->segments.at(0)->Open().ValueOrDie().get(), kSize, Confinement::kNone)
              .ValueOrDie(),
          "");
    }
    // And the next worker isn't given what can't be written to.
    memory_->reaper().Flush();
    {
      TestWorker worker = AddWorker(2);
      TestWorker::Area* area = worker.Grant(kSize);
      ASSERT_NE(area, nullptr);
      area->data()[0] = 'y';
    }
    memory_->broker().TakeWorker(2);
  }
}

TEST_P(Immutability, AChunkThatItsWorkerResizedIsNotPublished) {
  SegmentId id;
  bool resized = false;
  {
    TestWorker worker = AddWorker(1);
    TestWorker::Area* area = worker.Grant(kSize);
    ASSERT_NE(area, nullptr);
    id = area->id;
    resized = ::ftruncate(area->fd.get(), 4096) == 0;
  }
  EXPECT_EQ(Publish(1, {{id, 0, 4096}}).ok(), !resized);
  memory_->reaper().Flush();
  TestWorker worker = AddWorker(2);
  TestWorker::Area* area = worker.Grant(kSize);
  ASSERT_NE(area, nullptr);
  EXPECT_EQ(base::FileSize(area->fd.get()).ValueOrDie(), kSize);
}

INSTANTIATE_TEST_SUITE_P(Sources, Immutability,
                         ::testing::Values(SharedMemoryOptions::Source::kTmpfs,
                                           SharedMemoryOptions::Source::kMemfd),
                         SourceName);

}  // namespace
}  // namespace zerrow::shm
