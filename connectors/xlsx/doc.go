// Package xlsx keeps a worksheet of an Excel workbook: one row per lead, updated and deleted in place, located by its
// lead_id.
//
//	connectors:
//	  - name: workbook
//	    type: xlsx
//	    settings:
//	      path: data/leads.xlsx
//	      sheet: Leads          # the worksheet (this is the default); a workbook that is there must have it
//	    fields:                 # the columns beside lead_id
//	      - {to: name, from: name}
//	      - {to: phone, from: phone}
//
// # What people may do
//
// Columns are found by the text in row 1, rows by their lead_id, anew for each batch: both may be moved and sorted,
// and all else is theirs: other columns and worksheets, formats, formulas, charts, filters, notes. A missing configured
// column is added behind everything that is there. A column that left the configuration is from then on a person's. Of
// columns with one header the first is ours; a formula in a column of ours gives way to the lead's value. A row deleted
// by hand comes back with the lead's next change; all copies of a row follow the lead. A worksheet without a lead_id
// column is never written, unless it is empty: that is a setup fault.
//
// A new lead gets the first row below the header that is empty and not hidden, formulas in people's own columns aside:
// they wait for it. A table ("Format as Table") grows with the leads that come right below it, unless it has a row of
// totals.
//
// A lead's delete empties its row, with what people wrote beside it, their notes and links; formulas and formats stay,
// and the row is given to the next new lead. The row itself is not taken out, for then every formula, chart, filter
// and format that names rows below it would have to move along, in parts of the file that are not ours to write.
//
// A program that has the workbook open is waited for, as long as the file is there with which Excel (~$leads.xlsx) and
// LibreOffice (.~lock.leads.xlsx#) say so: what we wrote meanwhile would be lost when a person saves. Which programs do
// not say so, the one that saves last wins. A save that is noticed while it goes on is given time.
//
// # Who may write the file, and what survives a crash
//
// Any number of goroutines and processes, in turns: see package lockedfile. Every change writes a new file beside the
// old one, syncs it and renames it over the old one, so a container needs its folder mounted, not the file alone. The
// file holds personal data: it is created 0600. A file that exists keeps its mode.
//
// # What is written
//
// A workbook is an archive of XML parts. Of ours, the cells of the leads' rows are written anew, and what has to follow
// them: the size of the worksheet, a table that grew, the links and notes of rows that changed, the shared texts of
// cells that changed. All else is copied byte for byte. That is why no library writes the file: those we know read a
// worksheet into what they know of it and write that, keep the texts of deleted cells in the workbook's table of shared
// strings (https://github.com/troldal/OpenXLSX/issues/193), and move references only in part when rows are deleted
// (https://pkg.go.dev/github.com/xuri/excelize/v2#File.RemoveRow).
//
// Excel is asked to calculate all formulas when it opens the file. LibreOffice, unless it is set to
// (Tools, Options, LibreOffice Calc, Formula, Recalculation on File Load), believes the results it finds, but for those
// in rows that were written: they are taken out. So what formulas elsewhere, pivot tables and charts keep of a lead that
// was deleted is there until a program calculates and saves the workbook.
//
// # Cells
//
// Every text is stored as a text and never read as anything else: "=cmd|…", "+44 123", "0007", "1/2". Numbers of up to
// 15 digits, which is what Excel keeps, are numbers, true and false truth values; times are texts as
// 2026-01-02T03:04:05Z, for a spreadsheet's have no time zone. A list is joined with commas, an object is its JSON, and
// what the lead lacks empties the cell. Control characters but tabs and line breaks are removed. A text longer than a
// cell's 32,767 characters is the lead's fault.
//
// # Limits
//
// Each batch reads and writes the whole worksheet, which takes some seconds for 100,000 rows. A worksheet has 1,048,576
// rows; when it is full, new leads are a setup fault, and all others go on. A part of the file that unpacks to more
// than 512 MB is not read. One batch at a time is written to a file, over all workers.
package xlsx
