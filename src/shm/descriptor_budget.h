// How many file descriptors the chunks of one engine may cost: arithmetic, no descriptors.
//
// Descriptors run out before memory does, and whoever runs out first may be a socket that a worker
// needs. So every chunk reserves beforehand what it will ever take, and is refused if that isn't
// there. A share gives itself back and may outlive everything else, as segments do. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace zerrow::shm {

class DescriptorBudget : public std::enable_shared_from_this<DescriptorBudget> {
 public:
  /// Move-only; empty if it was refused.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept
        : budget_(std::move(other.budget_)), count_(std::exchange(other.count_, 0)) {}
    Share& operator=(Share&& other) noexcept;
    ~Share() { Release(); }

    explicit operator bool() const { return budget_ != nullptr; }

   private:
    friend class DescriptorBudget;
    Share(std::shared_ptr<DescriptorBudget> budget, int64_t count)
        : budget_(std::move(budget)), count_(count) {}
    void Release();

    std::shared_ptr<DescriptorBudget> budget_;
    int64_t count_ = 0;
  };

  static std::shared_ptr<DescriptorBudget> Make(int64_t capacity);

  /// What chunks may take of a process that may open `limit` descriptors and has opened `open`.
  /// `reserve` is kept for everything else, or half of the rest if that is less.
  static int64_t Capacity(int64_t limit, int64_t open, int64_t reserve);

  /// Empty: so many aren't left.
  Share Take(int64_t count) { return TakeUpTo(count, capacity_); }
  /// For what only makes things faster: empty unless half of the capacity is still free after it.
  Share TakeSpare(int64_t count) { return TakeUpTo(count, capacity_ / 2); }

  int64_t capacity() const { return capacity_; }
  int64_t used() const { return used_.load(std::memory_order_relaxed); }
  /// More than half of it is used: spares should go.
  bool scarce() const { return used() > capacity_ / 2; }

 private:
  explicit DescriptorBudget(int64_t capacity) : capacity_(capacity) {}
  Share TakeUpTo(int64_t count, int64_t most);

  const int64_t capacity_;
  std::atomic<int64_t> used_{0};
};

}  // namespace zerrow::shm
