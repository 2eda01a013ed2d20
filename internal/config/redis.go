package config

import (
	"crypto/tls"
	"errors"
	"reflect"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Options are how go-redis connects to a URL that is not empty: redis.NewUniversalClient(r.Options()).
func (r Redis) Options() *redis.UniversalOptions {
	options, _ := r.options()
	return options
}

var errRedisURL = errors.New("redis.url: must be like redis://:password@host:6379/0, rediss://host:6379 (TLS) or " +
	"unix:///run/redis.sock; several hosts are separated by commas")

// options leaves what is wrong with the URL unsaid: it holds the password.
func (r Redis) options() (*redis.UniversalOptions, error) {
	before, hosts, after, err := splitHosts(r.URL.Reveal())
	if err != nil {
		return nil, err
	}
	all := &redis.UniversalOptions{}
	for i, host := range hosts {
		one, err := redis.ParseURL(before + host + after)
		if err != nil || len(hosts) > 1 && host == "" {
			return nil, errRedisURL
		}
		if i == 0 {
			copyFields(all, one)
		}
		all.Addrs = append(all.Addrs, one.Addr)
	}
	if len(hosts) > 1 && all.TLSConfig != nil {
		// Each host answers with its own certificate.
		all.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: all.TLSConfig.InsecureSkipVerify}
	}
	all.IsClusterMode = r.Cluster
	all.MasterName = r.SentinelMaster
	all.SentinelPassword = r.SentinelPassword.Reveal()
	return all, nil
}

// splitHosts splits scheme://user:password@ from host,host,… and from what follows them.
func splitHosts(url string) (before string, hosts []string, after string, err error) {
	scheme, rest, found := strings.Cut(url, "://")
	if !found {
		return "", nil, "", errRedisURL
	}
	if scheme == "unix" {
		return url, []string{""}, "", nil
	}
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		rest, after = rest[:end], rest[end:]
	}
	user := strings.LastIndexByte(rest, '@') + 1
	return scheme + "://" + rest[:user], strings.Split(rest[user:], ","), after, nil
}

// copyFields copies what both kinds of options call the same.
func copyFields(into *redis.UniversalOptions, from *redis.Options) {
	target, source := reflect.ValueOf(into).Elem(), reflect.ValueOf(from).Elem()
	for i := range source.NumField() {
		field := target.FieldByName(source.Type().Field(i).Name)
		if field.CanSet() && field.Type() == source.Field(i).Type() {
			field.Set(source.Field(i))
		}
	}
}

func (r Redis) check() error {
	if r.URL == "" {
		switch {
		case r.Cluster:
			return errors.New("redis.cluster: needs redis.url")
		case r.SentinelMaster != "":
			return errors.New("redis.sentinel_master: needs redis.url")
		}
		return nil
	}
	options, err := r.options()
	switch {
	case err != nil:
		return err
	case r.Cluster && r.SentinelMaster != "":
		return errors.New("redis.cluster: a cluster has no sentinel_master; set one of them")
	case r.Cluster && options.DB != 0:
		return errors.New("redis.url: a cluster has only database 0")
	case len(options.Addrs) > 1 && !r.Cluster && r.SentinelMaster == "":
		return errors.New("redis.url: several hosts need redis.cluster or redis.sentinel_master")
	case r.Engine != "":
		return errors.New("redis.engine: is for the embedded Redis, which redis.url replaces")
	}
	return nil
}
