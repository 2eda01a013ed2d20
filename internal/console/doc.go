// Package console is the operators' pages, all below /console: how each connector is doing, what became of a lead, what
// failed and what waits in the inbox, and the buttons to do something about it; and the settings of the connectors. Pages
// are rendered here and work without scripts; a script keeps the overview live and tries settings as they are typed.
//
// # Settings
//
// A form is made of what a kind says of its settings, and of the entry as the file has it. What the form does not show, or
// shows as it is written, stays as it is written. A secret is never sent to a browser: the form says where it comes from,
// and what was typed and is not saved yet comes back sealed.
//
// # Who gets in
//
// An operator signs in with a name and a password, or through an OpenID Connect provider that the configuration names,
// with what it allows. Their session is kept in Redis, for all processes, and what their browser holds of it is only stored
// as a digest; it ends when what they signed in with is changed. Each change needs a session, a request that the browser says
// comes from the console's own origin, and the token that is in the session's forms; then it is noted in the audit trail, and
// only then made: what cannot be noted is not done. Trail and logs hold ids, no personal data of leads, and addresses that
// are searched for stand in no URL.
package console
