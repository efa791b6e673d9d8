#include "resource/versions.h"

#include <algorithm>
#include <utility>

namespace zerrow::resource {

using enum Task::State;

void Versions::OnPublished(TaskId id, const ContentHash& content_hash,
                           const std::vector<SegmentBytes>& table) {
  Task& task = board_.At(id);
  const ContentHash before = std::exchange(task.content_hash, content_hash);
  if (content_hash && content_hash->empty()) MarkVarying(id);
  if (!task.succeeded || !before || !content_hash || *before == *content_hash) return;
  MarkVarying(id);
  board_.Decide(Decision::Kind::kVary, id, Reason::kDiffers);
  if (task.spec.kept) {
    lifecycle_.Free(Board::ResultOf(id));
    for (const SegmentBytes& segment : table) board_.ledger.Hold(Board::ResultOf(id), segment);
  }
  RestartReaders(id, false);
}

void Versions::Renew(TaskId id) {
  MarkVarying(id);
  RestartReaders(id, true);
}

void Versions::MarkVarying(TaskId id) {
  auto& tasks = board_.runs.at(id.run).tasks;
  tasks[id.index].repeatable = false;
  board_.NoteMoved(id);
  for (size_t i = id.index + 1; i < tasks.size(); ++i) {
    const auto varies = [&](size_t input) { return !tasks[input].repeatable; };
    if (!tasks[i].repeatable || std::ranges::none_of(tasks[i].spec.inputs, varies)) continue;
    tasks[i].repeatable = false;
    if (tasks[i].resident) board_.NoteMoved({id.run, i});
  }
}

// A gate is affected by what it comes after, as it would stand open though a check may fail by now.
Versions::Affected Versions::Find(const Run& run, size_t changed, bool with_itself) const {
  const auto& tasks = run.tasks;
  Affected affected{std::vector<bool>(tasks.size()), std::vector<bool>(tasks.size())};
  std::vector<size_t> found;
  const auto restart = [&](size_t index) {
    if (affected.restart[index]) return;
    affected.restart[index] = true;
    found.push_back(index);
  };
  if (with_itself) affected.restart[changed] = true;
  found.push_back(changed);
  while (!found.empty()) {
    const size_t index = found.back();
    found.pop_back();
    for (const size_t follower : tasks[index].followers) {
      const Task& next = tasks[follower];
      affected.wait[follower] = true;
      const bool stems = next.spec.gate || std::ranges::binary_search(next.spec.inputs, index);
      if (stems && (next.succeeded || next.has_attempt())) restart(follower);
    }
    if (!affected.restart[index]) continue;
    for (const size_t input : tasks[index].spec.inputs) {
      const Task& read = tasks[input];
      if (read.succeeded && !read.resident && !read.repeatable) restart(input);
    }
  }
  return affected;
}

void Versions::RestartReaders(TaskId changed, bool with_itself) {
  Run& run = board_.runs.at(changed.run);
  const Affected affected = Find(run, changed.index, with_itself);
  for (size_t i = 0; i < run.tasks.size(); ++i) {
    if (affected.restart[i]) Restart({changed.run, i}, changed);
  }
  // The last first: whoever can go on at once tells those that wait for it.
  for (size_t i = run.tasks.size(); i > 0; --i) {
    if (affected.restart[i - 1] || affected.wait[i - 1]) lifecycle_.Await({changed.run, i - 1});
  }
}

void Versions::Restart(TaskId id, TaskId cause) {
  Run& run = board_.runs.at(id.run);
  Task& task = run.tasks[id.index];
  if (task.succeeded) {
    const Reason reason = id == cause ? Reason::kTableUnreadable : Reason::kOutdated;
    board_.Decide(Decision::Kind::kRestart, id, reason).why.cause = cause;
  }
  task.succeeded = false;
  task.told = task.spec.gate;
  task.dropped = task.lost = task.wanted = false;
  task.losses = 0;
  task.content_hash.reset();
  task.awaited_by.clear();
  lifecycle_.StopAwaiting(id);
  task.start_reason = Reason::kOutdated;
  if (task.spec.kept) lifecycle_.Free(Board::ResultOf(id));
  lifecycle_.Outdate(id);
  // One that is leaving may have been told so before.
  if (task.state == kFinished || (task.state == kLeaving && !task.restarts)) {
    for (const size_t input : task.spec.inputs) {
      ++run.tasks[input].open_readers;
      run.tasks[input].first_open = 0;
    }
  }
  Halt(id, cause);
}

void Versions::Halt(TaskId id, TaskId cause) {
  Run& run = board_.runs.at(id.run);
  Task& task = run.tasks[id.index];
  switch (task.state) {
    case kFinished:
      ++run.unfinished;
      return lifecycle_.Enter(id, kWaiting);
    case kRunning:
      lifecycle_.Stop(id, ModelStatus::kFailed, Reason::kOutdated);
      board_.decisions.back().why.cause = cause;
      return;
    case kStopping:
      // It is to run again anyhow; what takes too long, or isn't wanted any more, stays so.
      if (task.stop_reason != Reason::kOverLimit) return;
      task.stop_reason = Reason::kOutdated;
      return task.too_large.reset();
    case kLeaving:
      task.restarts = true;
      return;
    case kWaiting:
    case kReady:
    case kRestoring:
      return;
  }
}

void Versions::OnEnded(TaskId id) {
  Task& task = board_.At(id);
  task.restarts = false;
  lifecycle_.UnpinInputs(id);
  lifecycle_.Enter(id, kWaiting);
  if (board_.runs.at(id.run).cancelled) {
    lifecycle_.Finish(id, ModelStatus::kCancelled, Reason::kCancelled);
  } else {
    lifecycle_.Await(id);
  }
}

}  // namespace zerrow::resource
