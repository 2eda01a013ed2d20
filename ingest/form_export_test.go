package ingest

// SignToken is what the front end signs the time with at which a form was opened.
var SignToken = signToken
