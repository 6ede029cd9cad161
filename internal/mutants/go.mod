module github.com/grpc-sessionauth/sessionauth/internal/mutants

go 1.26.0
