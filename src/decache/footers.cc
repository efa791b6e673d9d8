#include "decache/footers.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace zerrow::decache {
namespace {

// What a map's node and the identity take, about.
constexpr int64_t kOverheadBytes = 256;

int64_t BytesOf(const FileIdentity& file, const Footer& footer) {
  return kOverheadBytes + static_cast<int64_t>(file.path.size()) +
         static_cast<int64_t>(footer.blocks.size() * sizeof(Block)) +
         std::max<int64_t>(footer.size_bytes, 0);
}

int64_t BytesOf(const std::string& filter, const std::vector<int>& blocks) {
  return kOverheadBytes + static_cast<int64_t>(filter.size() + blocks.size() * sizeof(int));
}

// The file may be part of sources that widen its columns in different ways.
bool SaysTheSame(const Footer& one, const Footer& other) {
  const bool has_schemas = one.schema && other.schema;
  return one.blocks == other.blocks && one.encoded == other.encoded &&
         one.size_bytes == other.size_bytes &&
         (has_schemas ? one.schema->Equals(*other.schema, /*check_metadata=*/true)
                      : one.schema == other.schema);
}

}  // namespace

const Footer* Footers::Find(const FileIdentity& file) {
  const File* known = Touch(file);
  return known == nullptr ? nullptr : &known->footer;
}

Footers::File* Footers::Touch(const FileIdentity& file) {
  const auto known = files_.find(file);
  if (known == files_.end()) return nullptr;
  recency_.splice(recency_.end(), recency_, known->second.recency);
  return &known->second;
}

void Footers::Insert(const FileIdentity& file, Footer footer) {
  if (const auto known = files_.find(file); known != files_.end()) {
    if (SaysTheSame(known->second.footer, footer)) {
      Touch(file);
      return;
    }
    Drop(known);
  }
  const int64_t bytes = BytesOf(file, footer);
  if (bytes > limit_bytes_) return;
  const auto added = files_.emplace(file, File{.footer = std::move(footer)}).first;
  added->second.recency = recency_.insert(recency_.end(), added);
  Charge(&added->second, bytes);
  Evict();
}

const std::vector<int>* Footers::FindKept(const FileIdentity& file, std::string_view filter) {
  const File* known = Touch(file);
  if (known == nullptr) return nullptr;
  const auto kept = known->kept.find(filter);
  return kept == known->kept.end() ? nullptr : &kept->second;
}

void Footers::InsertKept(const FileIdentity& file, std::string filter, std::vector<int> blocks) {
  File* known = Touch(file);
  if (known == nullptr || known->kept.contains(filter)) return;
  const int64_t bytes = BytesOf(filter, blocks);
  const int64_t footer_bytes = BytesOf(file, known->footer);
  if (bytes > limit_bytes_ - footer_bytes) return;
  if (known->kept.size() == kMaxFilters || bytes > limit_bytes_ - known->bytes) {
    known->kept.clear();
    Charge(known, footer_bytes - known->bytes);
  }
  known->kept.emplace(std::move(filter), std::move(blocks));
  Charge(known, bytes);
  Evict();
}

void Footers::Charge(File* file, int64_t bytes) {
  file->bytes += bytes;
  bytes_ += bytes;
}

// What was just used or added fits by itself, so it stays.
void Footers::Evict() {
  while (bytes_ > limit_bytes_ && !recency_.empty()) Drop(recency_.front());
}

void Footers::Drop(Files::iterator file) {
  bytes_ -= file->second.bytes;
  recency_.erase(file->second.recency);
  files_.erase(file);
}

void Footers::Resize(int64_t limit_bytes) {
  limit_bytes_ = limit_bytes;
  Evict();
}

void Footers::Clear() {
  files_.clear();
  recency_.clear();
  bytes_ = 0;
}

void Footers::Supersede(const FileIdentity& file) {
  auto other = files_.lower_bound(FirstIdentity(file.path));
  while (other != files_.end() && other->first.path == file.path) {
    const auto next = std::next(other);
    if (other->first != file) Drop(other);
    other = next;
  }
}

}  // namespace zerrow::decache
