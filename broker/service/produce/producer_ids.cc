#include "broker/service/produce/producer_ids.h"

#include <string>
#include <utility>

#include "broker/controller/producer_id.h"

namespace millrace::broker {

using internal::v1::AllocateProducerIdsReply;

void ProducerIds::Give(const ControllerClient::Asker& asker, Done done) {
  if (next_number_ < end_) return done(Next());
  waiting_.push_back(std::move(done));
  // One block for all who wait: else many at once would use up many blocks.
  if (waiting_.size() == 1) Refill(asker);
}

Result<ProducerId> ProducerIds::Next() {
  // The numbers may have come before the key, which the controller's log brings.
  const std::string& key = view_->image().producer_id_key();
  if (key.empty()) return CheckProducerId(key, ProducerId());
  return MarkProducer(key, next_number_++);
}

void ProducerIds::Refill(const ControllerClient::Asker& asker) {
  controllers_->AllocateProducerIds(
      asker, lifetime_.Guard([this, asker](const Result<AllocateProducerIdsReply>& block) {
        std::vector<Done> waiting = std::exchange(waiting_, {});
        if (block.ok()) {
          next_number_ = block->first();
          end_ = block->end();
        }
        for (Done& done : waiting) {
          if (block.ok()) {
            Give(asker, std::move(done));
          } else {
            done(block.status());
          }
        }
      }));
}

}  // namespace millrace::broker
