// Package googlesheets keeps one tab of a Google spreadsheet in step with the leads, through the Sheets API v4: one
// row per lead, updated and deleted in place, located by its lead_id.
//
// # Settings
//
//	connectors:
//	  - name: sheet
//	    type: googlesheets
//	    settings:
//	      credentials_file: /run/secrets/google.json   # the service account's JSON key; or credentials, its text
//	      spreadsheet_id: 1AbCdEfGhIjKlMnOpQrStUvWxYz  # from the address: …/spreadsheets/d/<this>/edit
//	      sheet: Leads                                 # the tab's title (this is the default); it must exist
//	      timeout: 60s                                 # of one request
//	      base_url: https://sheets.googleapis.com      # default
//	    fields:                                        # the columns beside lead_id
//	      - {to: name, from: name}
//	      - {to: phone, from: phone}
//
// The spreadsheet must be shared with the service account (client_email in its key) as an editor.
//
// # What people may do
//
// Columns are found by the text in row 1, rows by their lead_id, anew for each batch: both may be moved, sorted and
// hidden, and columns and rows that people add stay as they are, wherever they stand. A missing configured column is
// inserted behind the others, an empty tab gets its header. A row deleted by hand comes back with the lead's next
// change. A lead's delete removes its row with all that people wrote into it. Of several rows of one lead, copies
// by hand or an accident, the first is kept and the others are removed with the lead's next change. A header without
// lead_id is never written to: the column may just have been renamed, and every lead would be added again. A protected
// row parks its own lead alone; a protected tab, column or end of the tab holds the connector.
//
// # Cells
//
// Every text is stored as a text (ExtendedValue.stringValue: https://developers.google.com/workspace/sheets/api/reference/rest/v4/spreadsheets/other#ExtendedValue),
// never parsed: "=cmd|…", "+44 123", "0007" and "1/2" stay what they are. Numbers of up to 15 digits are numbers, a
// list is joined with commas, an object is its JSON, and what the lead lacks empties the cell. Control characters but
// tabs and line breaks are removed. A cell holds at most 50,000 characters; a longer value is the lead's fault.
//
// # Calls, and what they promise
//
// A batch is one read and one write, however many leads it creates, updates and deletes. (An instance's first read
// is two calls, as is one after the lead_id column moved; a tab of more than 10,000 rows is read in as many more
// calls. A batch of more than 1.5 MB of text takes two writes, and what these do not carry is left for the next
// batch.) The write is one spreadsheets.batchUpdate, which Google applies as a whole or not at all
// (https://developers.google.com/workspace/sheets/api/guides/batchupdate).
//
// New leads get rows that the same call inserts below the last lead's: they can overwrite nothing, whoever else
// writes at the same time. values.append, the other way, finds the end of what it takes for a table and there may
// start in another column (https://github.com/burnash/gspread/issues/537), and by default overwrites. A write whose
// answer was lost is safe to repeat, since each batch first looks for its leads. Nothing is written by what was read
// more than 5 s ago: a process that was paused meanwhile may have lost its turn to another.
//
// # Rows that move meanwhile
//
// Google addresses cells by position only. When a person sorts, inserts or deletes rows in the moment between our read
// and our write, the write lands in other rows. (Developer metadata follows a row that is moved, but Google nowhere
// says that it follows a sort: https://developers.google.com/workspace/sheets/api/guides/metadata.) So each write also
// asks, within the same atomic call, what it met: the answer holds the lead_id of every row that was written, and
// whether a row held the right lead_id when it was deleted. A lead that was missed fails as remote and is pushed again.
// A lead whose row was hit in its place is
//
//   - emptied, where it was overwritten: its lead_id and what people wrote beside it are untouched, and nobody's
//     data is left under another's id.
//   - gone, where its row was deleted, with what people had written into it.
//
// Either way it is pushed again at once, and an error in the log names it. What nothing can undo is a cell that a
// person keeps in a row without a lead_id, or in a column that was moved in that same moment; the log names that, too.
//
// # Errors
//
// 400, 401, 403, 404 and other refusals are setup: texts too long and protected rows are refused beforehand, so what
// Google refuses is never one lead but the tab (missing, protected, full) or the account; unless the tab changed since
// it was read, which is remote. 429, and a 403 or any other status that says it is about rate, are throttled. 409, 499,
// 5xx and the network are remote.
//
// # Checks
//
// `leadrelay check --live` finds the tab, its header and what of it is protected. It cannot find out whether the
// service account is an editor or a viewer: the Sheets API tells it by refusing a write.
//
// # Limits
//
// 60 reads and 60 writes a minute per account and project, counted apart
// (https://developers.google.com/workspace/sheets/api/limits): 30 batches a minute, one at a time per tab over all
// workers, so that each has two reads and two writes; tabs written through one account share the batches. A tab of more
// than 20,000 rows, which takes more reads, may be throttled when it is busy.
package googlesheets
