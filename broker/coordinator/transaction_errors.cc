#include "broker/coordinator/transaction_errors.h"

#include "broker/coordinator/transaction_requests.h"

namespace millrace::broker {

std::string TextOf(const std::string& id, uint64_t number) {
  return "transaction " + std::to_string(number) + " of transactional id \"" + id + "\"";
}

std::string TextOf(TransactionOutcome outcome) {
  return outcome == internal::v1::TRANSACTION_OUTCOME_COMMITTED ? "committed" : "aborted";
}

std::string TextOf(TransactionEndReason reason) {
  if (reason == internal::v1::TRANSACTION_END_REASON_TIME_LIMIT) return "time_limit";
  if (reason == internal::v1::TRANSACTION_END_REASON_FENCED) return "fenced";
  if (reason == internal::v1::TRANSACTION_END_REASON_ADMINISTRATOR) return "administrator";
  return "asked";
}

Status CheckTransactionName(const TransactionName& name) {
  if (name.producer == ProducerId()) return InvalidArgument("producer_id is 0");
  if (name.epoch == 0) return InvalidArgument("epoch is 0; the first one is 1");
  if (name.number == 0) return InvalidArgument("number is 0; the first one is 1");
  return {};
}

Status UnknownTransactionalId(const std::string& id) {
  return NotFound("transactional id \"" + id + "\" does not exist",
                  Reason::kUnknownTransactionalId);
}

Status UnknownProducer(const TransactionName& name) {
  return NotFound("producer id " + std::to_string(name.producer.value()) + " of epoch " +
                      std::to_string(name.epoch) +
                      " is that of no transactional id, or of one that is not kept any more",
                  Reason::kUnknownProducer);
}

Status Fenced(const std::string& id, const TransactionalId& known) {
  return Aborted("transactional id \"" + id + "\" was initialized anew", Reason::kTransactionFenced)
      .AddMetadata("producer_epoch", std::to_string(known.epoch));
}

Status Ended(const std::string& id, uint64_t number, const TransactionalId& known) {
  if (number != known.last.number) {
    return Aborted(TextOf(id, number) + " has ended, and later ones since",
                   Reason::kTransactionEnded);
  }
  const std::string outcome = TextOf(known.last.outcome);
  const std::string why = TextOf(known.last.reason);
  return Aborted(TextOf(id, number) + " was " + outcome + " (" + why + ")",
                 Reason::kTransactionEnded)
      .AddMetadata("outcome", outcome)
      .AddMetadata("why", why);
}

Status MayOnlyBeAborted(const std::string& id, uint64_t number) {
  return ResourceExhausted(TextOf(id, number) + " has more than " +
                           std::to_string(kParticipantsMax) +
                           " partitions, and can only be aborted");
}

}  // namespace millrace::broker
