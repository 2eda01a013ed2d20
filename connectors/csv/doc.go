// Package csv keeps a spreadsheet file: one row per lead, updated and deleted in place, located by its lead_id.
//
//	connectors:
//	  - name: sheet
//	    type: csv
//	    settings:
//	      path: data/leads.csv
//	      delimiter: ","     # or ";" where Excel's list separator is one (German, French, …), "|" or a tab
//	      bom: true          # a byte order mark: without it Excel misreads every umlaut
//	    fields:              # the columns after lead_id
//	      - {to: name, from: name}
//	      - {to: phone, from: phone}
//
// # Who may write the file
//
// Any number of goroutines and processes: a writer holds an flock on <path>.lock, which is never deleted. Processes
// on several hosts need a file system whose flock holds between hosts (NFSv4 does, SMB often does not).
//
// People, too. Rows may be reordered and columns moved; columns added by hand stay, with what they hold. A
// missing configured column comes back with the next write, and columns people added then stand after the
// configured ones. A column that left the configuration is from then on a person's: delete it in the sheet.
// A file saved with another delimiter keeps it. A row deleted by hand comes back with the lead's next change.
// A file without a lead_id column, or that is not UTF-8, is never written: that is a setup fault. What a person
// changed while another program had the file open is beyond us: the program that saves last wins, and LibreOffice
// asks before it does. A save that is noticed while it goes on is given time: the push fails and is repeated.
//
// The file holds personal data: it is created 0600 in folders created 0700. A file that exists keeps its mode and,
// where we may, its owner. It is replaced by renaming, so a container needs its folder mounted, not the file alone.
//
// # What survives a crash
//
// New leads are appended and synced; every other change writes a new file beside the old one, syncs it and renames
// it. A power cut can tear an append. The next write heals it: a half lead_id is removed, a row torn after its
// lead_id is closed and gets its values when the lead is pushed again, as it will be, for nobody was told that it
// was written.
//
// # What a spreadsheet makes of a cell
//
// A cell of a lead never becomes a formula, and no text becomes a number or a date: "=cmd|…", "@SUM", "+44 123",
// "0007", "1/2", "4915112345678". Such a text gets a leading apostrophe, as OWASP advises
// (https://owasp.org/www-community/attacks/CSV_Injection). The other ways are worse:
//
//   - a cell written as ="0007" is itself a formula, and loses its zeros when Excel saves the file as CSV again
//   - a leading tab or an invisible character is copied unseen into the next mail or phone call
//   - quotes alone change nothing: Excel and LibreOffice read "=1+1" and =1+1 alike
//
// The apostrophe shows, says "text" to whoever knows spreadsheets, and is there again after Excel or LibreOffice
// saved the file. It is also set inside a text where a program set to another list separator would begin a new
// cell: after a line break, a tab, and a comma or semicolon that is not the delimiter. To read a value
// back, remove one apostrophe wherever a text that needs one follows it; texts that begin with apostrophes by
// themselves get one more, so this is exact.
//
// Bare stay: JSON numbers of up to eleven digits, which Excel shows in full, texts that are such whole numbers without
// leading zeros (forms send every number as text), true and false, and times as 2026-01-02T03:04:05Z.
// Control characters but tabs and line breaks are removed; a line break is one "\n" inside the quotes.
package csv
