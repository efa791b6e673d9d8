#include "engine/live_memory.h"

#include <algorithm>
#include <utility>

#include "base/exceptions.h"

namespace zerrow::engine {

using resource::Budget;
using resource::TaskId;

namespace {

constexpr int64_t kMiB = 1 << 20;
// The budget follows in steps: each new one has all be weighed anew.
constexpr int64_t kStep = 16 * kMiB;
// How far below the budget's figure it must be before more is offered: at most, and of the limit.
constexpr int64_t kMostSlack = 64 * kMiB;
constexpr int64_t kSlackDivisor = 32;
constexpr double kNoticeableStall = 0.1;
constexpr resource::Time kStallSeconds = 10;

}  // namespace

struct LiveMemory::Transfer {
  SegmentId id = 0;
  int64_t bytes = 0;  // that are read
  resource::Time began = 0;
  std::stop_token stop;
  std::shared_ptr<const shm::Segment> segment;  // to be written, so that its bytes stay
  std::shared_ptr<const shm::SpillFile> copy;   // to be read
  arrow::Result<shm::SpillFile> written = arrow::Status::UnknownError("not written");
  arrow::Result<std::shared_ptr<const shm::Segment>> read = arrow::Status::UnknownError("not read");
};

LiveMemory::LiveMemory(EventLoop& loop, shm::SegmentStore& store, LivePerformer& performer,
                       Options options)
    : loop_(loop), store_(store), performer_(performer), options_(std::move(options)) {}

void LiveMemory::StopTransfers() {
  for (auto& [id, stop] : transfers_) stop.request_stop();
}

Budget LiveMemory::budget() const {
  Budget budget = Budget::Of(options_.limit_bytes);
  budget.reserve_bytes += other_bytes_;
  return budget;
}

void LiveMemory::Freeze(TaskId task, int attempt, bool frozen) {
  performer_.Freeze(task, attempt, frozen);
}

std::shared_ptr<LiveMemory::Transfer> LiveMemory::Begin(SegmentId segment) {
  auto transfer = std::make_shared<Transfer>();
  transfer->id = segment;
  transfer->began = options_.now();
  // One that was freed and forgotten may still be under way.
  transfer->stop =
      transfers_.insert_or_assign(segment, std::stop_source()).first->second.get_token();
  return transfer;
}

double LiveMemory::End(const Transfer& transfer) {
  const auto found = transfers_.find(transfer.id);
  if (found != transfers_.end() && found->second.get_token() == transfer.stop) {
    transfers_.erase(found);
  }
  return options_.now() - transfer.began;
}

void LiveMemory::SwapOut(SegmentId id) {
  auto transfer = Begin(id);
  transfer->segment = store_.Find(id);
  loop_.Post(
      EventLoop::Lane::kWriting,
      [transfer, folder = options_.spill] {
        transfer->written = base::CatchExceptions([&]() -> arrow::Result<shm::SpillFile> {
          if (folder == nullptr) return arrow::Status::IOError("there is no folder to write to");
          if (transfer->segment == nullptr) return arrow::Status::KeyError("it isn't in memory");
          return shm::SpillFile::Write(folder, *transfer->segment, transfer->stop);
        });
        transfer->segment.reset();
      },
      [this, transfer] { OnWritten(*transfer); });
}

void LiveMemory::OnWritten(Transfer& transfer) {
  using Result = resource::SegmentSwappedOut::Result;
  const double took_s = End(transfer);
  const arrow::Status status = transfer.written.status();
  if (status.ok()) store_.NoteCopy(*std::move(transfer.written));
  const Result result = status.ok()                ? Result::kDone
                        : status.IsCapacityError() ? Result::kDiskFull
                                                   : Result::kFailed;
  dispatcher_->OnSwappedOut({transfer.id, result, took_s});
}

void LiveMemory::SwapIn(SegmentId id) {
  auto transfer = Begin(id);
  transfer->copy = store_.Copy(id);
  if (transfer->copy != nullptr) transfer->bytes = transfer->copy->bytes();
  reading_bytes_ += transfer->bytes;
  loop_.Post(
      EventLoop::Lane::kReading,
      [transfer, memory = options_.memory(), &reaper = store_.reaper()] {
        transfer->read =
            base::CatchExceptions([&]() -> arrow::Result<std::shared_ptr<const shm::Segment>> {
              if (transfer->copy == nullptr) return arrow::Status::KeyError("it has no copy");
              return memory == nullptr ? transfer->copy->Load(nullptr, reaper, transfer->stop)
                                       : memory->Load(*transfer->copy, transfer->stop);
            });
        transfer->copy.reset();
      },
      [this, transfer] { OnRead(*transfer); });
}

void LiveMemory::OnRead(Transfer& transfer) {
  const double took_s = End(transfer);
  reading_bytes_ -= transfer.bytes;
  const bool ok = transfer.read.ok();
  if (ok) store_.Load(*std::move(transfer.read));
  dispatcher_->OnSwappedIn({transfer.id, ok, took_s});
}

// Not from inside a decision: the answer is an event.
void LiveMemory::Uncache(SegmentId segment) {
  loop_.Call([this, segment] { performer_.scans().Uncache(segment); });
}

void LiveMemory::Forget(SegmentId segment) {
  const auto found = transfers_.find(segment);
  if (found != transfers_.end()) found->second.request_stop();
}

int64_t LiveMemory::PooledBytes() const {
  const auto memory = options_.memory();
  return memory == nullptr ? 0 : memory->pool().stats().free_bytes;
}

int64_t LiveMemory::OtherBytes() const {
  const sandbox::MemorySampler& sampler = performer_.sampler();
  int64_t all = sampler.current_bytes() - performer_.CountedTwiceBytes();
  all += sampler.usage().kernel_bytes;
  // By what isn't sampled: others in a cgroup around this one.
  if (const auto room = sampler.surrounding_room_bytes()) {
    all = std::max(all, options_.limit_bytes - *room);
  }
  if (sampler.is_full()) all = std::max(all, options_.limit_bytes);
  return std::max<int64_t>(all - PooledBytes() - dispatcher_->core().charged_bytes(), 0);
}

void LiveMemory::OnTime() {
  for (const auto& [task, attempt, bytes] : performer_.MeasureAttempts()) {
    dispatcher_->OnMeasured(task, attempt, bytes);
  }
  AdjustReserve();
  TrimPool();
  NoteStall();
}

// Each second, and then not again before what the kernel tells is about other seconds.
void LiveMemory::NoteStall() {
  const resource::Time now = options_.now();
  if (now < next_look_) return;
  next_look_ = now + 1;
  const double share = performer_.sampler().StalledShare().value_or(0);
  if (share < kNoticeableStall) return;
  next_look_ = now + kStallSeconds;
  dispatcher_->NoteStall(share);
}

void LiveMemory::AdjustReserve() {
  const int64_t now = OtherBytes();
  const int64_t slack = std::clamp(options_.limit_bytes / kSlackDivisor, kStep, kMostSlack);
  if (now <= other_bytes_ && now + slack >= other_bytes_) return;
  other_bytes_ = (now + kStep - 1) / kStep * kStep;
  dispatcher_->SetBudget(std::nullopt, budget());
}

// What is kept for the next worker must not be what makes memory run short.
void LiveMemory::TrimPool() {
  const int64_t used = dispatcher_->core().charged_bytes() + OtherBytes();
  const int64_t room = Budget::Of(options_.limit_bytes).capacity() - used;
  const int64_t excess = PooledBytes() - std::max<int64_t>(room, 0);
  if (excess > 0) options_.memory()->ReleaseIdle(excess);
}

}  // namespace zerrow::engine
