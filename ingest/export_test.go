package ingest

import "github.com/leadrelay/leadrelay/internal/store"

// What the description has to say.
const (
	MaxBatch          = maxBatch
	MaxPage           = maxPage
	DefaultPage       = defaultPage
	MaxIdempotencyKey = maxIdempotencyKey
	MaxDelivery       = maxDelivery
	MaxFields         = maxFields
	DefaultBodyBytes  = defaultBodyBytes
	DefaultBatchBytes = defaultBatchBytes
)

// Routes are those that are answered, as "METHOD /path/:parameter".
func Routes() (all []string) {
	for _, route := range (&server{Options: Options{Demo: true}}).routes() {
		all = append(all, route.method+" "+route.path)
	}
	return all
}

// Standings are those of a lead, as the API shows them.
func Standings(found store.Found) string { return string(appendJSON(nil, standings(found))) }
