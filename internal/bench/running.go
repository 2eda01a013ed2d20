package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// Running says which running instance to measure. Its connectors get the benchmark's leads; these are deleted
// again at the end.
type Running struct {
	URL string // of the front end, such as http://127.0.0.1:8080
	Key string // an API key of scope full
}

// RunOn measures a running instance: accepting at each number of connections, and for each of its connectors how
// fast the leads got in step. There are no yardsticks, since these need the Redis to themselves.
func RunOn(ctx context.Context, at Running, opts Options) (report *Report, err error) {
	opts.setDefaults()
	target, err := url.Parse(at.URL)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return nil, errors.New("the URL must be http://HOST:PORT or https://HOST")
	}
	address := target.Host
	if target.Port() == "" {
		address += map[string]string{"http": ":80", "https": ":443"}[target.Scheme]
	}
	l := &load{address: address, host: target.Host, tls: target.Scheme == "https", key: at.Key, keepIDs: true}
	report = &Report{Machine: machine("as configured")}
	began := time.Now()
	client := &http.Client{Timeout: 30 * time.Second}
	defer func() {
		// What was made is taken away again, even when the run was broken off.
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), arriveWithin)
		defer cancel()
		opts.Progress(fmt.Sprintf("deleting %d leads", len(l.ids)))
		if problem := at.forget(cleanup, client, l.ids); problem != nil && err == nil {
			err = fmt.Errorf("the benchmark's leads (source %s) are not all deleted: %w", source, problem)
		}
	}()
	for _, connections := range opts.Connections {
		opts.Progress(fmt.Sprintf("accept: %d connections", connections))
		got, err := l.during(ctx, connections, opts.For)
		if err != nil {
			return nil, err
		}
		report.Accept = append(report.Accept, Accept{leadrelay, connections, got.perSecond(), got.Latency})
	}
	opts.Progress("waiting for every connector to be in step")
	for {
		backlogs, err := at.backlogs(ctx, client)
		if err != nil {
			return nil, err
		}
		waiting := false
		for connector, backlog := range backlogs {
			known := false
			for _, d := range report.Drain {
				known = known || d.Candidate == connector
			}
			switch {
			case backlog > 0:
				waiting = true
			case !known:
				n := len(l.ids)
				report.Drain = append(report.Drain, Drain{connector, n, float64(n) / time.Since(began).Seconds()})
			}
		}
		if !waiting {
			report.Duration = time.Since(began).Round(time.Second).String()
			return report, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

var backlogMetric = regexp.MustCompile(`^leadrelay_backlog\{connector="([^"]+)"\} (\S+)$`)

func (at Running) backlogs(ctx context.Context, client *http.Client) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.URL+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	backlogs := map[string]float64{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if match := backlogMetric.FindStringSubmatch(lines.Text()); match != nil {
			if backlogs[match[1]], err = strconv.ParseFloat(match[2], 64); err != nil {
				return nil, err
			}
		}
	}
	return backlogs, nil
}

// forget deletes leads.
func (at Running) forget(ctx context.Context, client *http.Client, ids []string) error {
	var group errgroup.Group
	group.SetLimit(16)
	for _, id := range ids {
		group.Go(func() error {
			req, err := http.NewRequestWithContext(ctx, http.MethodDelete, at.URL+"/api/v1/leads/"+id, nil)
			if err != nil {
				return err
			}
			req.Header.Set("Authorization", "Bearer "+at.Key)
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			io.Copy(io.Discard, resp.Body)
			if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
				return fmt.Errorf("a delete was answered %d", resp.StatusCode)
			}
			return nil
		})
	}
	return group.Wait()
}
