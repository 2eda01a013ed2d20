package embedded

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func eachEngine(b *testing.B, run func(b *testing.B, engine string)) {
	b.Run(InProcess, func(b *testing.B) { run(b, InProcess) })
	b.Run(RedisServer, func(b *testing.B) {
		needRedisServer(b)
		run(b, RedisServer)
	})
}

// leadLike writes about what accepting a lead does.
var leadLike = redis.NewScript(`
	redis.call('SET', 'l:' .. ARGV[1], ARGV[2])
	redis.call('ZADD', 'ids', 0, ARGV[1])
	redis.call('HSET', 's:' .. ARGV[1], 'crm', '0', 'sheet', '0')
	redis.call('ZADD', 'backlog', ARGV[3], ARGV[1])
	redis.call('ZADD', 'due', ARGV[3], ARGV[1])
	return 1`)

func BenchmarkScript(b *testing.B) {
	eachEngine(b, func(b *testing.B, engine string) {
		c := connect(b, start(b, b.TempDir(), engine).URL())
		doc := fmt.Sprintf("%300s", "{}")
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			id := fmt.Sprint(time.Now().UnixNano(), pb)
			for i := 0; pb.Next(); i++ {
				if err := leadLike.Run(b.Context(), c, nil, fmt.Sprint(id, i), doc, i).Err(); err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "leads/s")
	})
}

func BenchmarkSet(b *testing.B) {
	eachEngine(b, func(b *testing.B, engine string) {
		c := connect(b, start(b, b.TempDir(), engine).URL())
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if err := c.Set(b.Context(), fmt.Sprint("k", i), "v", 0).Err(); err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	})
}

// BenchmarkStart measures a start on 20,000 leads.
func BenchmarkStart(b *testing.B) {
	eachEngine(b, func(b *testing.B, engine string) {
		dir := b.TempDir()
		s := start(b, dir, engine)
		c := connect(b, s.URL())
		const leads = 20_000
		doc := fmt.Sprintf("%300s", "{}")
		leadLike.Load(b.Context(), c)
		for i := 0; i < leads; i += 1000 {
			if _, err := c.Pipelined(b.Context(), func(p redis.Pipeliner) error {
				for n := i; n < i+1000; n++ {
					leadLike.EvalSha(b.Context(), p, nil, fmt.Sprint(n), doc, n)
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
		}
		if s.Engine() == InProcess {
			b.Run("compact", func(b *testing.B) {
				for b.Loop() {
					if err := storeOf(s).compact(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		stop(b, s)
		b.Run("start", func(b *testing.B) {
			for b.Loop() {
				s := start(b, dir, engine)
				b.StopTimer()
				stop(b, s)
				b.StartTimer()
			}
		})
	})
}
