#include "base/json.h"

#include <string>
#include <utility>
#include <vector>

#include "base/exceptions.h"

namespace zerrow::base {

namespace {

using nlohmann::json;

// Builds the document from the parser's events. The parser itself doesn't recurse.
class Builder : public nlohmann::json_sax<json> {
 public:
  explicit Builder(const JsonLimits& limits) : limits_(limits) {}

  json& document() { return document_; }
  const std::string& problem() const { return problem_; }

  bool null() override { return Put(nullptr); }
  bool boolean(bool value) override { return Put(value); }
  bool number_integer(int64_t value) override { return Put(value); }
  bool number_unsigned(uint64_t value) override { return Put(value); }
  bool number_float(double value, const std::string&) override { return Put(value); }
  bool string(std::string& value) override { return Put(std::move(value)); }
  bool binary(json::binary_t&) override { return Fail("JSON with binary data"); }
  bool start_object(size_t) override { return Open(json::object()); }
  bool start_array(size_t) override { return Open(json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(std::string& key) override {
    key_ = std::move(key);
    return true;
  }
  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    return Fail("what isn't JSON, at byte " + std::to_string(position));
  }

 private:
  bool Fail(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }

  bool Put(json value) { return Place(std::move(value)) != nullptr; }

  // Only the innermost container grows, so that pointers to those around it stay valid.
  bool Open(json container) {
    if (open_.size() == limits_.depth) {
      return Fail("JSON nested deeper than " + std::to_string(limits_.depth) + " levels");
    }
    json* const placed = Place(std::move(container));
    if (placed != nullptr) open_.push_back(placed);
    return placed != nullptr;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  json* Place(json value) {
    if (++values_ > limits_.values) {
      Fail("JSON of more than " + std::to_string(limits_.values) + " values");
      return nullptr;
    }
    if (open_.empty()) return &(document_ = std::move(value));
    if (open_.back()->is_array()) return &open_.back()->emplace_back(std::move(value));
    const auto [member, is_new] = open_.back()->emplace(std::move(key_), std::move(value));
    if (is_new) return &*member;
    Fail("the key \"" + member.key().substr(0, 100) + "\" stands in a JSON object twice");
    return nullptr;
  }

  const JsonLimits& limits_;
  json document_;
  std::vector<json*> open_;
  std::string key_;
  size_t values_ = 0;
  std::string problem_;
};

}  // namespace

arrow::Result<json> ParseJson(std::string_view text, const JsonLimits& limits) {
  return CatchExceptions([&]() -> arrow::Result<json> {
    Builder builder(limits);
    if (!json::sax_parse(text, &builder)) {
      return arrow::Status::SerializationError(builder.problem());
    }
    return std::move(builder.document());
  });
}

}  // namespace zerrow::base
