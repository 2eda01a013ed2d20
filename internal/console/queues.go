package console

import "strings"

// queues hands over to asynq's monitor, for those who know it. It only shows: what acts is the console's own, and noted.
func (s *site) queues(v *visit) error {
	if s.Queues == nil {
		return notFound
	}
	s.Queues.ServeHTTP(v.w, v.r.WithContext(v.ctx))
	return nil
}

// byItself says whether it is a page that asks, over and over, and not who reads it.
func (v *visit) byItself() bool {
	return v.path == "/console/live" || strings.HasPrefix(v.r.URL.Path, "/console/queues/api/")
}
