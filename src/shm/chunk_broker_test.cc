// The broker as its untrusted peers meet it, over each source.
#include "shm/chunk_broker.h"

#include <signal.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <random>
#include <thread>

#include "base/channel.h"
#include "base/fd_passing.h"
#include "shm/conformance.h"

namespace zerrow::shm {
namespace {

class Broker : public Conformance {
 protected:
  // Ends when the broker has hung up on the worker; false if it doesn't.
  static bool IsHungUp(TestWorker& worker) {
    base::UniqueFd fd;
    return !worker.Receive(&fd).has_value();
  }
  // Of the whole tmpfs that the file is in; memfds' isn't counted, and gives 0.
  static int64_t UsedBytes(int fd) {
    struct statvfs info {};
    EXPECT_EQ(::fstatvfs(fd, &info), 0);
    return static_cast<int64_t>((info.f_blocks - info.f_bfree) * info.f_bsize);
  }
  // Everything free goes; then the descriptors that were open before are all that is left.
  void ExpectNothingLeaked(int fds, int64_t used_descriptors = 0) {
    memory_->reaper().Flush();
    memory_->pool().Shrink(std::numeric_limits<int64_t>::max());
    memory_->reaper().Flush();
    EXPECT_EQ(memory_->pool().stats().free_chunks, 0);
    // The broker's thread may still be ending a conversation.
    EXPECT_TRUE(Eventually([&] { return CountOpenFds() == fds; }))
        << CountOpenFds() << ", not " << fds;
    EXPECT_EQ(memory_->descriptors().used(), used_descriptors);
  }
};

TEST_P(Broker, MalformedRequestsEndTheConversationOfThatWorkerOnly) {
  TestWorker other = AddWorker(1000);
  const zerrow_broker_request malformed[] = {
      {0, 0, 4096, 0},  // no such op
      {3, 0, 4096, 0},
      {~0U, ~0U, ~0ULL, ~0ULL},
      {ZERROW_BROKER_GRANT, 1, 4096, 0},  // reserved
      {ZERROW_BROKER_GRANT, 0, 4096, 9},  // a segment with a GRANT
      {ZERROW_BROKER_GRANT, 0, 0, 0},     // nothing
      {ZERROW_BROKER_RELEASE, 0, 1, 1},   // a size with a RELEASE
      {ZERROW_BROKER_RELEASE, 0, 0, 1},   // not granted
      {ZERROW_BROKER_RELEASE, 0, 0, ~0ULL},
  };
  uint64_t id = 1;
  for (const auto& request : malformed) {
    TestWorker worker = AddWorker(id);
    ASSERT_TRUE(worker.Send(request));
    EXPECT_TRUE(IsHungUp(worker)) << "request " << id;
    EXPECT_TRUE(memory_->broker().TakeWorker(id++).empty());
  }
  for (const size_t length : {0, 1, 23, 25, 4096}) {
    TestWorker worker = AddWorker(id);
    const std::string bytes(length, '\1');
    worker.Send(bytes.data(), bytes.size());
    EXPECT_TRUE(IsHungUp(worker)) << length << " bytes";
    EXPECT_TRUE(memory_->broker().TakeWorker(id++).empty());
  }
  EXPECT_NE(other.Grant(4096), nullptr);
}

TEST_P(Broker, AnothersSegmentIsNotReleased) {
  TestWorker first = AddWorker(1);
  TestWorker second = AddWorker(2);
  TestWorker::Area* area = first.Grant(4096);
  ASSERT_NE(area, nullptr);
  ASSERT_TRUE(second.Send({ZERROW_BROKER_RELEASE, 0, 0, area->id}));
  EXPECT_TRUE(IsHungUp(second));
  EXPECT_EQ(memory_->broker().TakeWorker(1).size(), 1u);
}

TEST_P(Broker, ClaimedSizesAllocateNothing) {
  TestWorker worker = AddWorker(1);
  for (const uint64_t size : {~0ULL, 1ULL << 63, (1ULL << 63) - 1, 1ULL << 50}) {
    EXPECT_EQ(worker.Grant(size), nullptr);
    EXPECT_EQ(worker.error(), static_cast<uint32_t>(ENOMEM)) << size;
  }
  struct sysinfo machine;
  ASSERT_EQ(::sysinfo(&machine), 0);
  EXPECT_NE(worker.Grant(uint64_t{machine.totalram} * machine.mem_unit), nullptr)
      << "as many addresses as there is memory, and no memory";
  EXPECT_EQ(memory_->broker().BackedBytes(1), 0);
}

TEST_P(Broker, RandomBytesNeverStopIt) {
  std::mt19937_64 random(7);
  for (uint64_t id = 1; id <= 200; ++id) {
    TestWorker worker = AddWorker(id);
    for (int i = 0; i < 5; ++i) {
      zerrow_broker_request request;
      auto* bytes = reinterpret_cast<uint8_t*>(&request);
      for (size_t b = 0; b < sizeof(request); ++b) bytes[b] = static_cast<uint8_t>(random());
      if (i % 2 == 0)
        request = {1 + static_cast<uint32_t>(random() % 2), 0, random() >> (random() % 64),
                   random() % 3};
      if (!worker.Send(request)) break;
    }
    worker.CloseSocket();
    memory_->broker().TakeWorker(id);
  }
  TestWorker worker = AddWorker(1000);
  EXPECT_NE(worker.Grant(4096), nullptr);
}

TEST_P(Broker, DescriptorsThatAPeerSendsAreDropped) {
  const int fds = CountOpenFds();
  {
    TestWorker worker = AddWorker(1);
    zerrow_broker_request request{ZERROW_BROKER_GRANT, 0, 4096, 0};
    iovec part{&request, sizeof(request)};
    const int zero[] = {0};
    ASSERT_EQ(base::SendPacket(worker.socket(), {&part, 1}, zero),
              static_cast<ssize_t>(sizeof(request)));
    base::UniqueFd fd;
    EXPECT_TRUE(worker.Receive(&fd).has_value());
  }
  for (auto& granted : memory_->broker().TakeWorker(1))
    memory_->pool().Give(std::move(granted.chunk));
  ExpectNothingLeaked(fds);
}

TEST_P(Broker, AWorkerThatReadsNoRepliesIsHungUpOn) {
  const int fds = CountOpenFds();
  {
    TestWorker worker = AddWorker(1);
    // The broker never waits for room, so it hangs up; and this worker for good.
    int sent = 0;
    while (sent < 100'000 && worker.Send({ZERROW_BROKER_GRANT, 0, 4096, 0})) ++sent;
    EXPECT_LT(sent, 100'000);
  }
  EXPECT_TRUE(memory_->Publish(memory_->broker().TakeWorker(1), {}).ok());
  ExpectNothingLeaked(fds);
}

TEST_P(Broker, ReleasedChunksAreGrantedAgain) {
  TestWorker worker = AddWorker(1);
  TestWorker::Area* area = worker.Grant(4 * kMiB);
  ASSERT_NE(area, nullptr);
  std::memset(area->data(), 'a', 4 * kMiB);
  const SegmentId id = area->id;
  worker.Release(id);
  ASSERT_TRUE(Eventually([&] { return memory_->pool().stats().free_bytes == 4 * kMiB; }));
  area = worker.Grant(4 * kMiB);
  ASSERT_NE(area, nullptr);
  EXPECT_TRUE(area->dirty);
  EXPECT_NE(area->id, id);
  EXPECT_EQ(memory_->pool().stats().chunks_reused, 1);
}

TEST_P(Broker, AReleasedChunkThatIsStillMappedIsNotGrantedToOthers) {
  TestWorker liar = AddWorker(1);
  TestWorker::Area* area = liar.Grant(4 * kMiB);
  ASSERT_NE(area, nullptr);
  area->data()[0] = 'a';
  ASSERT_TRUE(liar.Send({ZERROW_BROKER_RELEASE, 0, 0, area->id}));
  TestWorker::Area* second = liar.Grant(4 * kMiB);  // answered after the release
  ASSERT_NE(second, nullptr);
  EXPECT_FALSE(second->dirty);
  EXPECT_EQ(memory_->pool().stats().free_chunks, 0);
  EXPECT_EQ(memory_->broker().TakeWorker(1).size(), 2u) << "it still counts as the worker's";
}

TEST_P(Broker, AChunkThatAWorkerHasEnlargedStaysWithIt) {
  TestWorker worker = AddWorker(1);
  TestWorker::Area* area = worker.Grant(2 * kMiB);
  ASSERT_NE(area, nullptr);
  if (::ftruncate(area->fd.get(), 64 * kMiB) != 0) return;  // a memfd's size is sealed
  worker.Release(area->id);
  ASSERT_NE(worker.Grant(2 * kMiB), nullptr);  // answered after the release
  EXPECT_EQ(memory_->broker().TakeWorker(1).size(), 2u);
}

// Refusals cost no memory, so a worker can ask for them without end; grants and releases too.
TEST_P(Broker, FloodsDontKeepOthersFromBeingServed) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> floods;
  for (uint64_t id = 1; id <= 3; ++id) {
    floods.emplace_back([&, id] {
      TestWorker worker = AddWorker(id);
      while (!stop) {
        EXPECT_EQ(worker.Grant(1ULL << 63), nullptr);
        TestWorker::Area* area = worker.Grant(1);
        if (area != nullptr) worker.Release(area->id);
      }
    });
  }
  std::thread silent([&] {
    for (uint64_t id = 1000; !stop; ++id) {
      TestWorker worker = AddWorker(id);
      while (worker.Send({ZERROW_BROKER_GRANT, 0, 1ULL << 63, 0}) && !stop) {
      }
      memory_->broker().TakeWorker(id);
    }
  });
  TestWorker worker = AddWorker(99);
  for (int i = 0; i < 300; ++i) {
    TestWorker::Area* area = worker.Grant(4096);
    ASSERT_NE(area, nullptr) << i;
    if (i % 2 == 0) worker.Release(area->id);
    memory_->broker().BackedBytes(99);
  }
  stop = true;
  for (auto& flood : floods) flood.join();
  silent.join();
  EXPECT_EQ(memory_->broker().TakeWorker(99).size(), 150u);
}

// What the broker has in hand when a worker is taken comes back, and nobody else can write to it.
TEST_P(Broker, AWorkerIsTakenWhileItsRequestsAreServed) {
  const int fds = CountOpenFds();
  for (uint64_t id = 1; id <= 300; ++id) {
    TestWorker worker = AddWorker(id);
    TestWorker::Area* area = worker.Grant(1);
    ASSERT_NE(area, nullptr);
    worker.Release(area->id);
    for (uint64_t i = 0; i < id % 4; ++i) worker.Send({ZERROW_BROKER_GRANT, 0, 4096, 0});
    auto taken = memory_->broker().TakeWorker(id);
    worker.CloseSocket();
    EXPECT_LE(taken.size(), 1 + id % 4);
    for (auto& granted : taken) {
      EXPECT_TRUE(memory_->pool().TryGive(granted.chunk).ok()) << "it is still open for writing";
    }
  }
  ExpectNothingLeaked(fds);
}

TEST_P(Broker, MemoryOfManyChunksIsCountedInTurns) {
  TestWorker worker = AddWorker(1);
  std::vector<SegmentId> ids;
  for (int i = 0; i < 150; ++i) {
    TestWorker::Area* area = worker.Grant(1);
    ASSERT_NE(area, nullptr);
    area->data()[0] = 1;
    ids.push_back(area->id);
  }
  for (int i = 0; i < 3; ++i) memory_->broker().BackedBytes(1);  // 64 of them each time
  const int64_t counted_bytes = memory_->broker().BackedBytes(1);
  for (int i = 0; i < 100; ++i) worker.Release(ids[static_cast<size_t>(i)]);
  ASSERT_NE(worker.Grant(1), nullptr);  // answered after the releases
  const int64_t rest_bytes = memory_->broker().BackedBytes(1);
  int64_t backed_bytes = 0;
  for (const auto& granted : memory_->broker().TakeWorker(1)) {
    backed_bytes += BackedBytes(granted.chunk);
  }
  EXPECT_EQ(rest_bytes, backed_bytes);
  EXPECT_GE(rest_bytes, 50 * 4096);
  EXPECT_GE(counted_bytes, 150 * 4096);
}

TEST_P(Broker, AWorkersLimitsHold) {
  SharedMemoryOptions options;
  options.source = GetParam();
  options.broker.worker_limit_bytes = 8 * kMiB;
  options.broker.worker_limit_chunks = 3;
  const auto memory = SharedMemory::Make(options).ValueOrDie();
  TestWorker worker(memory->broker().AddWorker(1).ValueOrDie());
  EXPECT_EQ(worker.Grant(9 * kMiB), nullptr);
  EXPECT_EQ(worker.error(), static_cast<uint32_t>(ENOMEM));
  TestWorker::Area* area = worker.Grant(6 * kMiB);
  ASSERT_NE(area, nullptr);
  const SegmentId first = area->id;
  EXPECT_NE(worker.Grant(2 * kMiB), nullptr);
  EXPECT_EQ(worker.Grant(1), nullptr);
  worker.Release(first);
  EXPECT_NE(worker.Grant(1), nullptr);
  EXPECT_NE(worker.Grant(1), nullptr);
  EXPECT_EQ(worker.Grant(1), nullptr) << "three chunks";
  TestWorker other(memory->broker().AddWorker(2).ValueOrDie());
  EXPECT_NE(other.Grant(8 * kMiB), nullptr) << "each has its own";
}

TEST_P(Broker, GrantsAreRefusedBeforeDescriptorsRunOut) {
  SharedMemoryOptions options;
  options.source = GetParam();
  options.pool.limit_bytes = 64 * kMiB;
  options.descriptors = 20;
  const auto memory = SharedMemory::Make(options).ValueOrDie();
  TestWorker first(memory->broker().AddWorker(1).ValueOrDie());
  TestWorker second(memory->broker().AddWorker(2).ValueOrDie());
  // Half of them for one worker: 10 descriptors, or 5 chunks.
  std::vector<SegmentId> granted;
  while (const auto* area = first.Grant(4096)) granted.push_back(area->id);
  EXPECT_EQ(first.error(), static_cast<uint32_t>(ENOMEM));
  EXPECT_EQ(granted.size(), 5u);
  TestWorker third(memory->broker().AddWorker(3).ValueOrDie());
  for (int i = 0; i < 5; ++i) EXPECT_NE(second.Grant(4096), nullptr);
  EXPECT_EQ(third.Grant(4096), nullptr) << "others hold them all";
  EXPECT_EQ(third.error(), static_cast<uint32_t>(ENOMEM));
  first.Release(granted[0]);
  EXPECT_TRUE(Eventually([&] { return third.Grant(4096) != nullptr; }));
}

TEST_P(Broker, AWorkerIsAddedOnceAndTakenOnce) {
  TestWorker worker = AddWorker(1);
  EXPECT_TRUE(memory_->broker().AddWorker(1).status().IsInvalid());
  ASSERT_NE(worker.Grant(1), nullptr);
  ASSERT_NE(worker.Grant(1), nullptr);
  const auto taken = memory_->broker().TakeWorker(1);
  ASSERT_EQ(taken.size(), 2u);
  EXPECT_LT(taken[0].id, taken[1].id);
  EXPECT_TRUE(IsHungUp(worker));
  EXPECT_TRUE(memory_->broker().TakeWorker(1).empty());
  EXPECT_TRUE(memory_->broker().TakeWorker(99).empty());
}

TEST_P(Broker, ServesManyWorkersAtOnceWhileOthersAreTaken) {
  const int fds = CountOpenFds();
  std::vector<std::thread> threads;
  std::atomic<int> granted{0};
  for (uint64_t id = 1; id <= 8; ++id) {
    threads.emplace_back([&, id] {
      std::mt19937 random(static_cast<uint32_t>(id));
      for (int round = 0; round < 10; ++round) {
        {
          TestWorker worker = AddWorker(id);
          for (int i = 0; i < 10; ++i) {
            TestWorker::Area* area = worker.Grant(1 + random() % (2 * kMiB));
            if (area == nullptr) continue;
            ++granted;
            area->data()[0] = static_cast<uint8_t>(id);
            if (random() % 2 == 0) worker.Release(area->id);
          }
        }
        EXPECT_TRUE(Publish(id, {}).ok());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(granted, 800);
  ExpectNothingLeaked(fds);
}

// Each step of a producer's life, killed there.
TEST_P(Broker, AProducerKilledAtAnyStepLeaksNothing) {
  const auto probe = MakeSegment(2 * kMiB, 'p', 999);
  ASSERT_NE(probe, nullptr);
  const auto probe_file = probe->Open().ValueOrDie();
  memory_->pool().Shrink(std::numeric_limits<int64_t>::max());
  memory_->reaper().Flush();
  const int fds = CountOpenFds();
  const int64_t used_descriptors = memory_->descriptors().used();
  const int64_t before_bytes = UsedBytes(probe_file.get());
  for (int step = 0; step <= 6; ++step) {
    base::UniqueFd socket = memory_->broker().AddWorker(1).ValueOrDie();
    {
      TestSignal reached;
      TestProcess process([&] {
        const auto stop_at = [&](int at) {
          if (step != at) return;
          reached.Signal();
          ::pause();
        };
        TestWorker worker(std::move(socket));
        stop_at(0);
        worker.Send({ZERROW_BROKER_GRANT, 0, 32 * kMiB, 0});
        stop_at(1);  // the reply isn't read
        base::UniqueFd fd;
        const auto reply = worker.Receive(&fd);
        if (!reply) return 1;
        stop_at(2);
        {
          const auto mapping =
              base::Mapping::Map(fd.get(), 32 * kMiB, base::Mapping::Access::kReadWrite)
                  .ValueOrDie();
          std::memset(mapping.data(), 'x', 32 * kMiB);
          stop_at(3);
          worker.Send({ZERROW_BROKER_RELEASE, 0, 0, reply->segment});
          stop_at(4);  // released, still mapped
        }
        fd.reset();
        worker.Send({ZERROW_BROKER_RELEASE, 0, 0, reply->segment});
        stop_at(5);
        worker.Send("garbage", 7);
        stop_at(6);
        return 0;
      });
      socket.reset();
      ASSERT_TRUE(reached.Wait()) << "step " << step;
      process.Kill();
    }
    const auto out = memory_->Publish(memory_->broker().TakeWorker(1), {});
    EXPECT_TRUE(out.ok());
    ExpectNothingLeaked(fds, used_descriptors);
    EXPECT_EQ(UsedBytes(probe_file.get()), before_bytes) << "step " << step;
  }
}

// Not even the engine gets to run its destructors. A reader that survives it keeps its own segment
// and nothing else: through that one the tmpfs can still be asked how full it is.
TEST_P(Broker, AnEngineThatIsKilledLeavesNothing) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer lets no forked process start threads";
#endif
  memory_.reset();
  auto [ours, theirs] = base::Channel::MakePair().ValueOrDie();
  TestProcess engine([&theirs = theirs] {
    const auto memory = SharedMemory::Make({.source = GetParam()}).ValueOrDie();
    TestWorker worker(memory->broker().AddWorker(1).ValueOrDie());
    TestWorker::Area* area = worker.Grant(2 * kMiB);
    if (area == nullptr) return 1;
    area->data()[0] = 'x';
    const Reference reference{area->id, 0, 1};
    worker = TestWorker(base::UniqueFd());
    const auto out = memory->Publish(memory->broker().TakeWorker(1), {&reference, 1}).ValueOrDie();
    TestWorker second(memory->broker().AddWorker(2).ValueOrDie());
    area = second.Grant(64 * kMiB);
    if (area == nullptr) return 1;
    std::memset(area->data(), 'x', 64 * kMiB);
    const auto segment = out.segments.at(0)->Open().ValueOrDie();
    const int fd = segment.get();
    if (!theirs.Send("ready", {&fd, 1}).ok()) return 1;
    ::pause();
    return 0;
  });
  const auto message = ours.Receive(std::chrono::seconds(20)).ValueOrDie();
  ASSERT_TRUE(message.has_value());
  const int segment = message->fds.at(0).get();
  engine.Kill();
  char byte = 0;
  EXPECT_EQ(::pread(segment, &byte, 1, 0), 1);
  EXPECT_EQ(byte, 'x');
  EXPECT_LE(UsedBytes(segment), 2 * kMiB);
}

INSTANTIATE_TEST_SUITE_P(Sources, Broker,
                         ::testing::Values(SharedMemoryOptions::Source::kTmpfs,
                                           SharedMemoryOptions::Source::kMemfd),
                         SourceName);

}  // namespace
}  // namespace zerrow::shm
