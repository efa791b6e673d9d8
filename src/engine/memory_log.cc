#include "engine/memory_log.h"

#include <cmath>
#include <utility>

#include "resource/reasons.h"

namespace zerrow::engine {

using resource::Decision;
using resource::Reason;
using resource::TaskId;
using resource::Time;
using enum Decision::Kind;

namespace {

bool IsForRoom(Reason reason) {
  return reason == Reason::kMakeRoom || reason == Reason::kOverLimit;
}

bool IsTold(Reason reason) { return IsForRoom(reason) || reason == Reason::kOutdated; }

// A segment whose copy is already on disk goes without being written; one that was written for it
// has been told of.
bool IsEviction(const Decision& decision) {
  switch (decision.kind) {
    case kSwapOut:
    case kUncache:
      return true;
    case kUnload:
      return decision.task != TaskId{};
    case kRelease:
      return IsForRoom(decision.reason);
    default:
      return false;
  }
}

std::string HowOf(Decision::Kind kind) {
  return kind == kUncache ? "cache" : kind == kRelease ? "rollback" : "swap";
}

// "'daily'", or what it is if it is no model's.
std::string Quoted(const std::string& model) {
  return model.empty() ? "reading the project" : "'" + model + "'";
}

std::string Sentence(const Decision& decision, const std::string& model) {
  const std::string bytes = resource::InDecimal(decision.why.bytes);
  switch (decision.kind) {
    case kStart:
      return Quoted(model) + " starts";
    case kStop:
      return Quoted(model) + " is stopped";
    case kFinish:
      return Quoted(model) + " fails";
    case kRelease:
      return "the table of " + Quoted(model) + " is dropped (" + bytes + ")";
    case kFreeze:
      return Quoted(model) + " is paused";
    case kThaw:
      return Quoted(model) + " goes on";
    case kSwapOut:
      return bytes + " of the table of " + Quoted(model) + " are written to disk";
    case kUnload:
      return bytes + " leave memory";
    case kSwapIn:
      return bytes + " are read back from disk";
    case kUncache:
      return bytes + " of cached columns are dropped";
    case kVary:
      return Quoted(model) + " isn't deterministic";
    case kRestart:
      return Quoted(model) + " has to run again";
    default:
      return "";
  }
}

}  // namespace

bool MemoryLog::Concerns(const Decision& decision) {
  switch (decision.kind) {
    case kStart:
      return decision.reason != Reason::kInputsThere && decision.reason != Reason::kLost;
    case kStop:
    case kRelease:
      return IsTold(decision.reason);
    case kFinish:
      return IsAboutMemory(decision.reason);
    case kVary:
    case kRestart:
    case kFreeze:
    case kThaw:
    case kSwapOut:
    case kUnload:
    case kSwapIn:
    case kUncache:
      return true;
    case kFree:
    case kShrink:
    case kEndRun:
      return false;
  }
  return false;
}

// Segments of a table are decided about one by one, but nobody thinks in these.
bool MemoryLog::Extends(const Decision& decision, Time now) const {
  return last_ && last_->kind == decision.kind && last_->task == decision.task &&
         last_->reason == decision.reason && last_->why.beneficiary == decision.why.beneficiary &&
         last_at_ == now && decision.segment != 0;
}

void MemoryLog::Note(const Decision& decision, const NameOf& name_of, Time now) {
  const bool evicts = IsEviction(decision);
  if (!evicts && !explain_) return;
  const bool extends = Extends(decision, now);
  Decision noted = decision;
  if (extends) noted.why.bytes += last_->why.bytes;
  const std::string model = decision.task == TaskId{} ? "" : name_of(decision.task);
  std::string reason = resource::Explain(decision, name_of);
  if (explain_) {
    if (extends && events_.size() <= kMaxEvents) events_.pop_back();
    Say(Sentence(noted, model) + ": " + reason, now);
  }
  if (evicts) {
    evicted_bytes_ += decision.why.bytes;
    if (extends && evictions_.size() < kMaxEvictions) evictions_.pop_back();
    if (evictions_.size() < kMaxEvictions) {
      evictions_.push_back({model, HowOf(decision.kind), noted.why.bytes, std::move(reason)});
    }
  }
  last_ = std::move(noted);
  last_at_ = now;
}

void MemoryLog::NoteStall(double share, Time now) {
  if (!explain_) return;
  last_.reset();
  const auto percent = std::lround(share * 100);
  Say("processes waited for memory for " + std::to_string(percent) + " % of the last ten seconds",
      now);
}

void MemoryLog::BeginWait(const std::string& model, size_t task, std::string reason, Time now) {
  EndWait(now);
  last_.reset();
  waiting_ = Waiting{task, model, now};
  if (explain_) Say(Quoted(model) + " waits: " + reason, now);
  waits_[task].reason = std::move(reason);
}

void MemoryLog::EndWait(Time now) {
  if (!waiting_) return;
  last_.reset();
  waits_[waiting_->task].wait_s += now - waiting_->since;
  if (explain_) Say(Quoted(waiting_->model) + " waits no more", now);
  waiting_.reset();
}

void MemoryLog::Say(std::string what, Time now) {
  if (events_.size() > kMaxEvents) return;
  if (events_.size() == kMaxEvents) what = "and more, which isn't told";
  events_.push_back({now - began_, std::move(what)});
}

void MemoryLog::Report(RunReport& report) && {
  report.evictions = std::move(evictions_);
  report.evicted_bytes = evicted_bytes_;
  if (explain_) report.memory_events = std::move(events_);
}

}  // namespace zerrow::engine
