// Package smtp tells people of new leads by mail: each is one mail, handed to the operator's own SMTP server.
//
// # Settings
//
//	connectors:
//	  - name: sales
//	    type: smtp
//	    settings:
//	      host: smtp.example.com
//	      port: 587                      # default: 587, 465 with tls: implicit, 25 with tls: none
//	      tls: starttls                  # must be offered (the default); or implicit, or none; see TLS
//	      username: leads@example.com    # or username_file; without one, nobody signs in
//	      password_file: /run/secrets/smtp    # or password
//	      from: Leads <leads@example.com>
//	      to: [sales@example.com, "Jane Doe <jane@example.com>"]
//	      events: [created]              # this is the default; beside it updated and deleted
//	      reply_to_lead: true            # an answer to the mail goes to the lead
//	      subject: "New lead: {{.name}}" # text/template over the lead's names, as in fields
//	      # body: "{{.name}} came by {{.source}}: {{.note}}"    # likewise, in place of fields; see Mail
//	      timeout: 30s                   # of each step: connecting, signing in, one command
//
// # Mail
//
// The mail is plain text in UTF-8. Without body it lists the connector's fields, one a line, under the name in
// `to`; without fields, the whole lead. What the lead lacks is left out; the lines of a longer text are indented,
// so that no lead can fake a field. A subject is one line of at most 200 characters, whatever the lead says.
// Reply-To is the lead's address where it is ASCII: another needs a mail system that speaks SMTPUTF8. Absence
// notices are asked not to answer, for theirs would go to the lead.
//
// # Updates and deletes
//
// A mail cannot be changed or taken back, so only new leads are told of: an update or a delete sends nothing. (A lead
// that comes to match `when` later does so by an update, and a create is one where leads.dedupe knows the address.)
// With updated among the events each update is a mail, with the lead as it was then. With deleted, who was told of a
// lead gets a mail with its id that asks to delete the others. By their References the mails of a lead are one thread.
//
// # Repeats
//
// SMTP has no key against repeats: where the connection breaks after the mail and before the server's answer, the
// mail is sent again. Its Message-ID is the same on every attempt at one change and no other's, so that a mail system
// which looks for duplicates (as Cyrus does, or a rule with Sieve's "duplicate") shows it once. For the same reason
// the answer to a mail is waited for as long as a push may take, whatever timeout says.
//
// # TLS
//
// starttls and implicit need a certificate that the system trusts for host; an authority of your own is made known
// by SSL_CERT_FILE. A server that does not offer STARTTLS gets nothing. With tls: none mails go in the clear, and
// there can be a username only where host is this machine.
//
// # Errors
//
// The sender and the recipients are the same for every lead. So a permanent refusal (5xx) before the mail itself is
// setup ("to[1]: 550/5.1.1 …" is the second recipient), and a server that asks to wait (421, 450, 452, greylisting)
// throttles the connector. If one recipient is refused, nobody gets the mail. A permanent refusal of the mail itself
// parks the lead, but for one whose code is about the addresses or the sign-in: that is setup, too. Other 4xx are
// tried again later.
//
// # Sources
//
//   - https://www.rfc-editor.org/rfc/rfc5321 (SMTP)
//   - https://www.rfc-editor.org/rfc/rfc3463 (enhanced status codes)
//   - https://www.rfc-editor.org/rfc/rfc4954 (AUTH)
//   - https://www.rfc-editor.org/rfc/rfc3834 (automatic mail)
//   - https://www.rfc-editor.org/rfc/rfc7352 (duplicate deliveries)
package smtp
