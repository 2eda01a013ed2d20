// Package mailchimp keeps the members of one Mailchimp audience (a list, in the API) in step with the leads,
// through the Marketing API 3.0.
//
// # Settings
//
//	connectors:
//	  - name: newsletter
//	    type: mailchimp
//	    settings:
//	      api_key_file: /run/secrets/mailchimp   # or api_key; it ends in the data centre, as in …-us21
//	      list_id: a1b2c3d4e5
//	      status_if_new: subscribed              # what a new member becomes (this is the default); or pending,
//	                                             # unsubscribed, transactional, cleaned
//	      status_if_archived: pending            # what a returning member becomes; see Consent
//	      on_delete: archive                     # or delete-permanent; see Deletes
//	      timeout: 30s                           # of one request
//	      base_url: https://us21.api.mailchimp.com   # default: the key's data centre
//	    fields:                                  # to is the merge tag; these two are the default
//	      - {to: FNAME, from: first_name}
//	      - {to: LNAME, from: last_name}
//
// This is code and no recipe: what a change of address takes depends on the status that the old member and the new one
// have, step by step, so that nobody is subscribed unasked; a recipe's requests follow no such state.
//
// A member is keyed by the MD5 hash of the lower-cased address, so two leads of one address share a member.
// Merge fields get texts: what the lead lacks is sent as "" and thereby cleared, a list is joined with commas.
// Only a custom field that is an object goes out as one, as address fields need it. A text that is longer than
// its merge field takes (255 bytes) is refused, and the lead parked with the field's name; to send its beginning,
// map it by a template: {to: NOTE, template: '{{printf "%.200s" .note}}'}.
//
// # Consent
//
// The status of a member who is there is never touched: an update does not subscribe who has unsubscribed.
//
// An archived member is not there for whoever looks at the audience, so the next change of a lead that has one
// brings it back. The API does not tell whether the person had unsubscribed before
// (https://github.com/brandonseydel/MailChimp.Net/issues/529), and setting subscribed may overrule that. So
// status_if_archived is pending where status_if_new is subscribed: Mailchimp asks the person by mail, once. Else
// it is what status_if_new is. To keep somebody out, unsubscribe the member or delete the lead; to archive the
// member by hand lasts until the lead changes.
//
// A changed address keeps a subscribed member with its history. Where Mailchimp refuses to change it (there is a
// member of the new address already), and where the old member is not subscribed, the new address is written as a
// member of its own that is as much subscribed as the old one was, and then the old one is archived. An old one
// that is archived already, by hand or by a change whose answer got lost, counts as a returning member.
//
// # Deletes
//
// on_delete: archive takes the member out of the audience; Mailchimp keeps the data and the person may come back.
// Mailchimp archives no pending member, so that is unsubscribed first, and no cleaned (bounced) one at all: that
// stays where it is.
//
// on_delete: delete-permanent erases all personal data. It also makes it impossible to import that address ever
// again: a later, genuine lead of the same person is refused as blocked by consent until the person signs up
// through Mailchimp's own form. So only the address of a deleted lead is erased: a former address, and that of a
// lead which the connector's filter leaves out by now, are archived.
//
// # Errors
//
// "blocked by consent" is a lead's fault that no retry mends: the person unsubscribed, bounced or was erased and
// must subscribe again by a form of Mailchimp's. Other 400s are the lead's fault, too, an invalid address or a
// missing required merge field among them. 401, 403 and a missing audience are setup; 429 and a 403 that is not
// JSON are throttling.
//
// # Checks
//
// `leadrelay check --live` names mapped merge fields that the audience does not have or that are of another type,
// required ones that get nothing, and a key whose user may not change audiences. What marketing permissions the
// audience asks for is the person's to say, and nothing here sets them.
//
// # Sources
//
//   - https://mailchimp.com/developer/marketing/api/list-members/
//   - https://mailchimp.com/developer/marketing/docs/merge-fields/
//   - https://mailchimp.com/developer/marketing/docs/errors/
//   - https://mailchimp.com/developer/marketing/docs/fundamentals/ (limits)
//   - https://mailchimp.com/help/archive-unarchive-contacts/
//
// Mailchimp publishes no client for Go, and eight calls need none.
package mailchimp
