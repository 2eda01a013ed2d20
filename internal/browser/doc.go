// Package browser is the tests of website forms in a real browser, headless Chromium, against a real front end: what a
// visitor and an assistive technology get, with the script and without it. It needs chromium and redis-server.
//
// With SCREENSHOTS set to a folder, each test leaves pictures there:
//
//	SCREENSHOTS=/tmp/shots go test ./internal/browser
package browser
