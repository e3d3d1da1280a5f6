"""What training jobs share, on AI Platform and on the cluster.

remote_jobs.py starts a job, finds it again and follows it, under a lease (leases/), through a client of the API that
runs it. staging.py fills the folder that job and step share, and brings the outputs back; records.py has the records in
it. worker.py is what the job does.
"""
