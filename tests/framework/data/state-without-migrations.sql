BEGIN TRANSACTION;
CREATE TABLE scheduler_configs (
	hash VARCHAR(64) NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (hash)
);
INSERT INTO "scheduler_configs" VALUES('b13a64b32650779f731db77fcf0833ee2ee3fbedceb23cacd39dfb9fb837da34','{"resources":{"cpus":0.1,"mem_mb":32,"disk_mb":16,"gpus":0,"ports":[]},"executor_data":"{\"cluster\":\"devcluster\",\"cron_collision_policy\":\"KILL_EXISTING\",\"enable_hooks\":false,\"environment\":\"prod\",\"executor_config\":{\"data\":\"\",\"name\":\"AuroraExecutor\"},\"health_check_config\":{\"health_checker\":{\"http\":{\"endpoint\":\"/health\",\"expected_response\":\"ok\",\"expected_response_code\":0}},\"initial_interval_secs\":15.0,\"interval_secs\":10.0,\"max_consecutive_failures\":0,\"min_consecutive_successes\":1,\"timeout_secs\":1.0},\"lifecycle\":{\"http\":{\"graceful_shutdown_endpoint\":\"/quitquitquit\",\"graceful_shutdown_wait_secs\":5,\"port\":\"health\",\"shutdown_endpoint\":\"/abortabortabort\",\"shutdown_wait_secs\":5}},\"max_task_failures\":1,\"metadata\":[],\"name\":\"hello\",\"priority\":0,\"production\":false,\"role\":\"www-data\",\"service\":true,\"task\":{\"constraints\":[{\"order\":[\"hello\"]}],\"finalization_wait\":5,\"max_concurrency\":0,\"max_failures\":1,\"name\":\"hello\",\"processes\":[{\"cmdline\":\"\\n    echo \\\"instance {{mesos.instance}} of hello starts\\\"\\n    trap ''echo bye; exit 0'' TERM\\n    while true; do\\n      echo hello world\\n      sleep 1 & wait $!\\n    done\\n  \",\"daemon\":false,\"ephemeral\":false,\"final\":false,\"max_failures\":1,\"min_duration\":5,\"name\":\"hello\"}],\"resources\":{\"cpu\":0.1,\"disk\":16777216,\"gpu\":0,\"ram\":33554432}}}","constraints":[],"container":null,"service":true,"production":false,"priority":0,"tier":null,"max_task_failures":1,"contact":null,"metadata":[],"task_links":[],"partition_policy":null,"sla_policy":null,"executor_name":"AuroraExecutor"}');
CREATE TABLE scheduler_events (
	sequence INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	cluster VARCHAR(255) NOT NULL, 
	role VARCHAR(255) NOT NULL, 
	job VARCHAR(1023) NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (sequence)
);
INSERT INTO "scheduler_events" VALUES(1,1.79522037414625453954e+09,'devcluster','www-data','devcluster/www-data/prod/hello','{"at":1795220374.1462545,"kind":"job","key":{"cluster":"devcluster","role":"www-data","environment":"prod","name":"hello"},"state":"CREATED","previous":"","instance":null,"task_id":"","update_id":"","message":"3 instances, by alice"}');
INSERT INTO "scheduler_events" VALUES(2,1.79522037414625453954e+09,'devcluster','www-data','devcluster/www-data/prod/hello','{"at":1795220374.1462545,"kind":"task","key":{"cluster":"devcluster","role":"www-data","environment":"prod","name":"hello"},"state":"PENDING","previous":"","instance":0,"task_id":"www-data-prod-hello-0-28f1aa60-2904-446f-a56b-323e102bd4de","update_id":"","message":"created by alice"}');
INSERT INTO "scheduler_events" VALUES(3,1.79522037414625453954e+09,'devcluster','www-data','devcluster/www-data/prod/hello','{"at":1795220374.1462545,"kind":"task","key":{"cluster":"devcluster","role":"www-data","environment":"prod","name":"hello"},"state":"PENDING","previous":"","instance":1,"task_id":"www-data-prod-hello-1-24a4c684-1468-48bb-a329-6961dee63907","update_id":"","message":"created by alice"}');
INSERT INTO "scheduler_events" VALUES(4,1.79522037414625453954e+09,'devcluster','www-data','devcluster/www-data/prod/hello','{"at":1795220374.1462545,"kind":"task","key":{"cluster":"devcluster","role":"www-data","environment":"prod","name":"hello"},"state":"PENDING","previous":"","instance":2,"task_id":"www-data-prod-hello-2-e05daed0-a6a9-4aa3-a7da-395385f2eb9e","update_id":"","message":"created by alice"}');
INSERT INTO "scheduler_events" VALUES(5,1.79522037416166520122e+09,'devcluster','www-data','devcluster/www-data/prod/hello','{"at":1795220374.1616652,"kind":"task","key":{"cluster":"devcluster","role":"www-data","environment":"prod","name":"hello"},"state":"ASSIGNED","previous":"PENDING","instance":0,"task_id":"www-data-prod-hello-0-28f1aa60-2904-446f-a56b-323e102bd4de","update_id":"","message":"on 127.0.0.3"}');
INSERT INTO "scheduler_events" VALUES(6,1.79522037416166520122e+09,'devcluster','www-data','devcluster/www-data/prod/hello','{"at":1795220374.1616652,"kind":"task","key":{"cluster":"devcluster","role":"www-data","environment":"prod","name":"hello"},"state":"ASSIGNED","previous":"PENDING","instance":1,"task_id":"www-data-prod-hello-1-24a4c684-1468-48bb-a329-6961dee63907","update_id":"","message":"on 127.0.0.2"}');
INSERT INTO "scheduler_events" VALUES(7,1.79522037416166520122e+09,'devcluster','www-data','devcluster/www-data/prod/hello','{"at":1795220374.1616652,"kind":"task","key":{"cluster":"devcluster","role":"www-data","environment":"prod","name":"hello"},"state":"ASSIGNED","previous":"PENDING","instance":2,"task_id":"www-data-prod-hello-2-e05daed0-a6a9-4aa3-a7da-395385f2eb9e","update_id":"","message":"on 127.0.0.1"}');
CREATE TABLE scheduler_jobs (
	id VARCHAR(1023) NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "scheduler_jobs" VALUES('devcluster/www-data/prod/hello','{"spec":{"key":{"cluster":"devcluster","role":"www-data","environment":"prod","name":"hello"},"instances":3,"config":"b13a64b32650779f731db77fcf0833ee2ee3fbedceb23cacd39dfb9fb837da34","update":{"strategy":"queue","group_sizes":[1],"autopause_after_batch":false,"max_per_instance_failures":0,"max_failed_instances":0,"watch_secs":5,"rollback_on_failure":true,"pulse_interval_secs":null,"sla_aware":false},"cron_schedule":null,"cron_collision_policy":"KILL_EXISTING","warnings":[]},"created_at":1795220374.1462545,"created_by":"alice","wanted":{"0":"b13a64b32650779f731db77fcf0833ee2ee3fbedceb23cacd39dfb9fb837da34","1":"b13a64b32650779f731db77fcf0833ee2ee3fbedceb23cacd39dfb9fb837da34","2":"b13a64b32650779f731db77fcf0833ee2ee3fbedceb23cacd39dfb9fb837da34"}}');
CREATE TABLE scheduler_leader (
	id INTEGER NOT NULL, 
	epoch BIGINT NOT NULL, 
	framework_id VARCHAR(255), 
	PRIMARY KEY (id)
);
INSERT INTO "scheduler_leader" VALUES(1,1,'7a858475-4673-420f-af20-a5f0fd42adef-0000');
CREATE TABLE scheduler_schema (
	id INTEGER NOT NULL, 
	version INTEGER, 
	PRIMARY KEY (id)
);
INSERT INTO "scheduler_schema" VALUES(1,1);
CREATE TABLE scheduler_tasks (
	id VARCHAR(1200) NOT NULL, 
	job VARCHAR(1023) NOT NULL, 
	instance INTEGER NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "scheduler_tasks" VALUES('www-data-prod-hello-0-28f1aa60-2904-446f-a56b-323e102bd4de','devcluster/www-data/prod/hello',0,'ASSIGNED','{"task_id":"www-data-prod-hello-0-28f1aa60-2904-446f-a56b-323e102bd4de","key":{"cluster":"devcluster","role":"www-data","environment":"prod","name":"hello"},"instance":0,"config":"b13a64b32650779f731db77fcf0833ee2ee3fbedceb23cacd39dfb9fb837da34","state":"ASSIGNED","events":[{"at":1795220374.1462545,"state":"PENDING","message":"created by alice","source":"scheduler"},{"at":1795220374.1616652,"state":"ASSIGNED","message":"on 127.0.0.3","source":"scheduler"}],"restarts":0,"failures":0,"ancestor_id":null,"agent_id":"7a858475-4673-420f-af20-a5f0fd42adef-S0","hostname":"127.0.0.3","agent_address":"127.0.0.3:37091","ports":{},"sandbox":"","container_id":"","throttle_until":0.0,"penalty_secs":0.0}');
INSERT INTO "scheduler_tasks" VALUES('www-data-prod-hello-1-24a4c684-1468-48bb-a329-6961dee63907','devcluster/www-data/prod/hello',1,'ASSIGNED','{"task_id":"www-data-prod-hello-1-24a4c684-1468-48bb-a329-6961dee63907","key":{"cluster":"devcluster","role":"www-data","environment":"prod","name":"hello"},"instance":1,"config":"b13a64b32650779f731db77fcf0833ee2ee3fbedceb23cacd39dfb9fb837da34","state":"ASSIGNED","events":[{"at":1795220374.1462545,"state":"PENDING","message":"created by alice","source":"scheduler"},{"at":1795220374.1616652,"state":"ASSIGNED","message":"on 127.0.0.2","source":"scheduler"}],"restarts":0,"failures":0,"ancestor_id":null,"agent_id":"7a858475-4673-420f-af20-a5f0fd42adef-S1","hostname":"127.0.0.2","agent_address":"127.0.0.2:34213","ports":{},"sandbox":"","container_id":"","throttle_until":0.0,"penalty_secs":0.0}');
INSERT INTO "scheduler_tasks" VALUES('www-data-prod-hello-2-e05daed0-a6a9-4aa3-a7da-395385f2eb9e','devcluster/www-data/prod/hello',2,'ASSIGNED','{"task_id":"www-data-prod-hello-2-e05daed0-a6a9-4aa3-a7da-395385f2eb9e","key":{"cluster":"devcluster","role":"www-data","environment":"prod","name":"hello"},"instance":2,"config":"b13a64b32650779f731db77fcf0833ee2ee3fbedceb23cacd39dfb9fb837da34","state":"ASSIGNED","events":[{"at":1795220374.1462545,"state":"PENDING","message":"created by alice","source":"scheduler"},{"at":1795220374.1616652,"state":"ASSIGNED","message":"on 127.0.0.1","source":"scheduler"}],"restarts":0,"failures":0,"ancestor_id":null,"agent_id":"7a858475-4673-420f-af20-a5f0fd42adef-S2","hostname":"127.0.0.1","agent_address":"127.0.0.1:46735","ports":{},"sandbox":"","container_id":"","throttle_until":0.0,"penalty_secs":0.0}');
CREATE TABLE scheduler_updates (
	id VARCHAR(255) NOT NULL, 
	job VARCHAR(1023) NOT NULL, 
	status VARCHAR(40) NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE INDEX scheduler_events_by_role ON scheduler_events (cluster, role, sequence);
CREATE INDEX scheduler_events_by_job ON scheduler_events (job, sequence);
COMMIT;
